"""The commands ADD, DEL, CHECK, STATUS and GC of this node; for each sandbox one at a time.

Reads the addresses that were assigned to this node's pods (`Addresses`), and the kernel. Writes the kernel
(`cni/link/attach.py`), a file for each attachment and, through `SandboxRequests`, the log: SandboxRequested
for a pod without a decision, and for static pods, whose address would be released with their mirror pods;
SandboxRemoved at the end. A repeated command completes what an earlier one began, or finds it done.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from romana_bus.cni import spec
from romana_bus.cni.link import attach, check
from romana_bus.cni.link.access import NoNamespace
from romana_bus.cni.link.veth import veth
from romana_bus.cni.server import results
from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.server.logged_requests import GRACE
from romana_bus.cni.server.sandbox_locks import SandboxLocks
from romana_bus.cni.server.sandbox_requests import SandboxRequests
from romana_bus.cni.spec import CniError, Pod

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.cni.server.outbox import Outbox
    from romana_bus.cni.server.threads import Threads
    from romana_bus.cni.spec import Attached, Call
    from romana_bus.events import SandboxRequested

log = structlog.get_logger(__name__)

#: RFC 8200: on a link with less, the kernel has no IPv6.
SMALLEST_V6 = 1280


class Addresses(Protocol):
    """The decisions about this node's pods, as far as the log was read."""

    def assigned(self, pod: Pod) -> tuple[str, ...]:
        """The pod's addresses; () if it has none, or another pod of that name has them."""

    def denied(self, pod: Pod) -> str:
        """Why the pod was denied addresses, or ''."""

    def uid_of(self, pod: Pod) -> str:
        """The uid of the pod of that name that has addresses or was denied them; '' if there is none."""

    async def wait_for_change(self) -> None:
        """Returns when something may have changed."""

    @property
    def trouble(self) -> str:
        """Why the decisions cannot be used yet, or '': the log was not read completely since the start."""


class Node(NamedTuple):
    """This node. `mtu`, `timeout`: defaults for network configurations without them. `has_block`: whether the
    node has a block of addresses. `six`: called before a pod gets an IPv6 address. `changed`: called when
    attachments have changed. `unknown`: why the log does not know this node, or ''. `needs`: what an address
    is to the node itself, such as a gateway; '' if a pod may have it. `problems`: why pods would not be
    connected."""

    name: str
    mtu: int
    timeout: float
    has_block: Callable[[], bool]
    six: Callable[[], None]
    changed: Callable[[], None]
    unknown: Callable[[], str]
    needs: Callable[[str], str]
    problems: Callable[[], list[str]]


class Commands:
    """Runs the calls of this node's container runtime. Calls for one sandbox run one after another, others
    concurrently: `locks`. `attachments`: the files of what is attached. `outbox`: takes sandbox events
    for the log. `addresses`: the decisions of IPAM. `threads`: run the blocking work in the kernel."""

    def __init__(
        self, node: Node, attachments: Attachments, outbox: Outbox, addresses: Addresses, threads: Threads
    ) -> None:
        self._node, self._attachments = node, attachments
        self._outbox, self._addresses, self._threads = outbox, addresses, threads
        self.locks = SandboxLocks()
        self._sandbox_requests = SandboxRequests(node.name, attachments, outbox, self._may_run)

    async def do(self, call: Call) -> bytes:
        """Run one call; returns the answer as JSON in the version of the configuration, b'' if the command
        has no result. A cancelled ADD leaves nothing. Raises CniError with a code of the specification, also
        for errors of the kernel and the disk."""
        self._sandbox_requests.forget_old()
        try:
            if call.command == "STATUS":
                return self._status()
            if call.command == "GC":
                return await self._collect(call)
            async with self.locks.alone(call.container):
                if call.command == "ADD":
                    return await self._add(call)
                if call.command == "DEL":
                    return await self._delete(call.attached, call.pod)
                return await self._check(call)
        except NoNamespace as error:
            raise CniError(spec.NETNS, f"CNI_NETNS: {error}") from None
        except attach.Taken as error:
            raise CniError(spec.KERNEL, str(error)) from None
        except OSError as error:
            raise CniError(
                spec.KERNEL, f"{call.command} failed in the kernel or on disk", str(error)
            ) from None

    async def resend(self) -> None:
        """Publish this node's requests again: the log was read again, and may be another one."""
        await self._sandbox_requests.resend()

    # --- ADD --------------------------------------------------------------------------------------------

    async def _add(self, call: Call) -> bytes:
        if other := self._attachments.other_of(call.attached):
            raise _second_interface(call, other)
        before = self._attachments.get(call.attached)
        known = self._addresses.assigned(call.pod)
        if before is not None and not known and self._addresses.trouble:
            known = before.addresses  # until the log is read, what was true before a restart counts
        kept = before if before is not None and known and known == before.addresses else None
        if kept is not None and not await self._threads.run(_faults, kept, call.netns):
            return results.added(call, kept)
        mtu, inode = await self._threads.run(_looked_up, call.config.mtu or self._node.mtu, call.netns)
        request: SandboxRequested | None = None
        if not known or (kept is None and call.pod in self._sandbox_requests):
            known = await self._awaited(call, known)
        elif call.pod.static:
            request = self._sandbox_requests.of(call.pod, call.container)
        made = self._planned(call, known, mtu, inode)
        await self._attach(made, request)
        self._node.changed()
        log.info("attached", pod=str(call.pod), addresses=list(known), sandbox=call.container[:13])
        return results.added(call, made)

    async def _attach(self, made: Attachment, request: SandboxRequested | None) -> None:
        """Attach the sandbox. Raises CniError, Taken, NoNamespace, OSError; then nothing is left."""
        wanted = results.veth_of(made)
        try:
            if wanted.six and made.mtu < SMALLEST_V6:
                raise CniError(spec.CONFIG, f"mtu {made.mtu}: a pod with an IPv6 address needs {SMALLEST_V6}")
            self._check_needed(made)
            await self._unshared(made)
            self._attachments.put(made)
            if request is not None:
                await self._outbox.put(request)
            if wanted.six:
                await self._threads.run(self._node.six)
            await self._threads.run(attach.attach, wanted, made.netns)
        except BaseException:
            await self._forget(made)
            raise

    def _check_needed(self, made: Attachment) -> None:
        """Make sure that the node itself does not need the addresses. Raises CniError."""
        for address in made.addresses:
            if what := self._node.needs(address):
                why = "`romana-bus ipam reserve` keeps pods away from it; the pod network must not contain it"
                raise CniError(spec.KERNEL, f"{address} of pod {made.pod} is {what}", why)

    async def _unshared(self, made: Attachment) -> None:
        """Make sure that no other running pod uses the addresses. (A newer sandbox of the same pod takes over
        from the older one.) An address may be assigned again before its former pod is gone. A pod whose link
        disappeared with its namespace, without a DEL, does not run any more. Between the last check and the
        return nothing is awaited. Raises CniError, OSError."""
        while other := self._sharer(made):
            if self.locks.is_busy(other.attached):
                raise _still_attached(made, other)
            async with self.locks.alone(other.attached.container):
                if await self._threads.run(check.is_attached, results.veth_of(other).host):
                    raise _still_attached(made, other)
                log.warning("the link of a sandbox is gone, and no DEL came", pod=str(other.pod))
                await self._forget(other)

    def _sharer(self, made: Attachment) -> Attachment | None:
        """An attachment of another pod that has one of the addresses, or None."""
        for other in self._attachments:
            if not other.pod.may_be(made.pod) and set(made.addresses).intersection(other.addresses):
                return other
        return None

    def _planned(
        self, call: Call, addresses: tuple[str, ...] = (), mtu: int = 0, inode: int = 0
    ) -> Attachment:
        return Attachment(
            network=call.config.name,
            attached=call.attached,
            netns=call.netns,
            netns_inode=inode,
            pod=call.pod,
            addresses=addresses,
            mtu=mtu,
            requested=call.pod in self._sandbox_requests,
        )

    async def _awaited(self, call: Call, known: tuple[str, ...]) -> tuple[str, ...]:
        """Wait for an address. `known`: addresses that an earlier sandbox of the pod requested; they may be
        released at this moment. Raises CniError; then the request is ended."""
        # The addresses of an earlier ADD of this sandbox may belong to another pod now.
        await self._threads.run(attach.detach, veth(call.container, call.ifname).host)
        request: SandboxRequested | None = None
        if known or call.pod in self._sandbox_requests or not self._addresses.denied(call.pod):
            request = self._sandbox_requests.of(call.pod, call.container)
        planned = self._planned(call)
        self._attachments.put(planned)
        try:
            stands = request is not None and await self._outbox.put(request)
            if known and (stands or self._is_held(call, known)):
                return known
            async with asyncio.timeout(self._timeout(call)):
                return await self._decided(call.pod, request if known else None)
        except TimeoutError:
            await self._forget(planned)
            raise CniError(spec.AGAIN, f"no address for pod {call.pod} yet", self._why(call)) from None
        except BaseException:
            await self._forget(planned)
            raise

    async def _decided(self, pod: Pod, doubted: SandboxRequested | None) -> tuple[str, ...]:
        """Wait for the pod's addresses. `doubted`: our request, if the pod has addresses that may be
        released: a decision that was taken before the log had the request may still arrive for a moment."""
        if doubted is not None:
            await self._outbox.stored(doubted)
            await asyncio.sleep(GRACE)
        while not (addresses := self._addresses.assigned(pod)):
            await self._addresses.wait_for_change()
        return addresses

    def _is_held(self, call: Call, addresses: tuple[str, ...]) -> bool:
        """Whether another sandbox of the pod is attached with these addresses: then its request was never
        ended, and they are not released. One that a DEL is ending does not count."""
        return any(
            other.requested
            and (other.pod, other.addresses) == (call.pod, addresses)
            and not self.locks.is_busy(other.attached)
            for other in self._attachments
        )

    def _timeout(self, call: Call) -> float:
        wanted = call.config.timeout
        return self._node.timeout if wanted is None else wanted

    def _why(self, call: Call) -> str:
        pod, uid_of = call.pod, self._addresses.uid_of(call.pod)
        if why := self._addresses.denied(pod) or self._addresses.trouble or self._outbox.trouble:
            return why
        asked = f"asked {self._timeout(call):g} s ago, and nothing was decided"
        if pod.uid and uid_of not in ("", pod.uid):
            return f"{asked}: the log knows the pod of that name with uid {uid_of}, not {pod.uid}"
        return f"{asked}: does `romana-bus run ipam` run?"

    # --- DEL and GC -------------------------------------------------------------------------------------

    async def _delete(self, attached: Attached, pod: Pod) -> bytes:
        """`pod`: that of the call. Raises OSError."""
        attachment, container = self._attachments.get(attached), attached.container
        pod = attachment.pod if attachment else pod
        with self._sandbox_requests.ending(attachment):
            await self._threads.run(attach.detach, veth(container, attached.ifname).host)
            if pod.namespace and pod.name and not self._attachments.other_of(attached):
                made = attachment is not None and bool(attachment.addresses)
                await self._sandbox_requests.end(pod, container, was_made=made)
            if attachment is not None:
                self._attachments.drop(attached)
                self._node.changed()
                log.info("detached", pod=str(pod), sandbox=container[:13])
        return b""

    async def release(self, lost: Attachment) -> bool:
        """Do what a DEL would for a sandbox that is gone with its namespace, unless a call for it runs or it
        is there after all; returns whether it was released. Raises OSError."""
        async with self.locks.idle([lost.attached]) as idle:
            if not idle or self._attachments.get(lost.attached) is not lost:
                return False
            if not await self._threads.run(check.is_lost, lost.link, lost.netns, lost.netns_inode):
                return False
            await self._delete(lost.attached, lost.pod)
            return True

    async def _forget(self, attachment: Attachment) -> None:
        """Undo everything that an ADD did."""
        with self._sandbox_requests.ending(attachment):
            await self._threads.run(attach.detach, results.veth_of(attachment).host)
            if attachment.requested:
                await self._sandbox_requests.end(
                    attachment.pod, attachment.attached.container, was_made=False
                )
            self._attachments.drop(attachment.attached)

    async def _may_run(self, pod: Pod) -> bool:
        """Whether the kernel routes an address of a pod of that name to a link without an attachment: then
        the attachments' files were lost."""
        addresses = self._addresses.assigned(Pod(pod.namespace, pod.name))
        routed = await self._threads.run(check.routed) if addresses else {}
        links = {routed[address] for address in addresses if address in routed}
        return not links <= self._attachments.of_links().keys()

    async def _collect(self, call: Call) -> bytes:
        """GC: detach all that is not valid any more, also after a failure. Raises OSError."""
        valid = {*(call.config.valid or ()), *(call.config.attachments or ())}
        of_network = [each for each in self._attachments if each.network == call.config.name]
        failures = []
        for attachment in of_network:
            stale = attachment.attached
            if stale in valid or self.locks.is_busy(stale):
                continue  # an ADD for it is running: not stale
            try:
                async with self.locks.alone(stale.container):
                    await self._delete(stale, attachment.pod)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return b""

    # --- CHECK and STATUS -------------------------------------------------------------------------------

    async def _check(self, call: Call) -> bytes:
        wanted, routes = results.expected(call)
        found = await self._threads.run(check.faults, wanted, call.netns, routes)
        known = self._addresses.assigned(call.pod)
        attachment = self._attachments.get(call.attached)
        if attachment is not None and known and known != attachment.addresses:
            found.append(f"pod {call.pod} has {', '.join(known)} now, but is attached with other addresses")
        if found:
            raise CniError(
                spec.FAULTY, f"the sandbox differs from what ADD made: {found[0]}", "; ".join(found[1:])
            )
        return b""

    def _status(self) -> bytes:
        if trouble := self._addresses.trouble:
            raise CniError(spec.UNAVAILABLE, "the agent is not in sync with the log", trouble)
        if not self._node.has_block():
            why = self._node.unknown() or "`romana-bus ipam show` shows where nodes are placed"
            raise CniError(spec.UNAVAILABLE, f"node {self._node.name} has no block of addresses", why)
        if problems := self._node.problems():
            raise CniError(spec.UNAVAILABLE, problems[0], "; ".join(problems[1:]))
        return b""


def _second_interface(call: Call, other: Attachment) -> CniError:
    text = f"CNI_IFNAME {call.ifname}: sandbox {call.container} of pod {other.pod} already has"
    why = (
        f"a pod has one interface by romana-cni: remove network {call.config.name} from what else the pod is"
        " to be attached to (Multus: the annotation k8s.v1.cni.cncf.io/networks), or give that network"
        " another plugin"
    )
    return CniError(spec.ENVIRONMENT, f"{text} {other.attached.ifname}", why)


def _still_attached(made: Attachment, other: Attachment) -> CniError:
    shared = min(set(made.addresses).intersection(other.addresses))
    text = f"{shared} of pod {made.pod} is still attached to pod {other.pod} (uid {other.pod.uid})"
    why = f"its sandbox {other.attached.container} has to be removed first, by DEL or GC"
    return CniError(spec.AGAIN, text, why)


def _faults(attachment: Attachment, netns: str) -> list[str]:
    wanted = results.veth_of(attachment)
    return check.faults(wanted, netns, results.routes(wanted))


def _looked_up(mtu: int, netns: str) -> tuple[int, int]:
    """An MTU, that of the uplink for 0, and the inode of a network namespace. Raises NoNamespace, OSError."""
    return mtu or check.uplink_mtu(), check.namespace_inode(netns)
