"""ADD, DEL, CHECK, STATUS and GC of this node, one at a time for each interface of a sandbox.

Reads the addresses that the log gave to this node's pods (`Addresses`), and the kernel. Writes the kernel
(`wiring`), a file for each attachment, and by `Wishes` to the log: SandboxRequested where nothing was decided
for a pod yet, and for static pods, whose address would be given away with their mirrors; SandboxRemoved where
that ends. A command that is repeated finishes what was begun, or finds it done.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple, Protocol

import structlog

from romana_bus.cni import spec
from romana_bus.cni.link import attach
from romana_bus.cni.link.veth import veth
from romana_bus.cni.server import results
from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.server.requests import GRACE
from romana_bus.cni.server.sandbox_requests import Wishes
from romana_bus.cni.spec import CniError, Pod

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from romana_bus.cni.server.outbox import Outbox
    from romana_bus.cni.server.threads import Threads
    from romana_bus.cni.spec import Attached, Call
    from romana_bus.events import SandboxRequested

log = structlog.get_logger(__name__)

#: RFC 8200: on a link with less, the kernel has no IPv6.
SMALLEST_V6 = 1280


class Addresses(Protocol):
    """What the log gave to the pods of this node, as far as it was read."""

    def assigned(self, pod: Pod) -> tuple[str, ...]:
        """() where it has none, or what it has is another pod's of that name."""

    def denied(self, pod: Pod) -> str:
        """Why it has none, where that was said; else ''."""

    def uid_of(self, pod: Pod) -> str:
        """The uid of the pod of that name which has addresses or was denied them; '' where there is none."""

    async def news(self) -> None:
        """Until something may have changed."""

    @property
    def trouble(self) -> str:
        """Why this cannot be believed: it was not read in full since the agent started. '' where it can."""


class Node(NamedTuple):
    """`mtu`, `timeout`: where a pod's network configuration says nothing. `has_block`: whether this node has
    a block of addresses. `six`: called before a pod gets an IPv6 address. `changed`: called when what is
    attached has changed."""

    name: str
    mtu: int
    timeout: float
    has_block: Callable[[], bool]
    six: Callable[[], None]
    changed: Callable[[], None]


class Commands:
    def __init__(
        self, node: Node, attachments: Attachments, outbox: Outbox, addresses: Addresses, threads: Threads
    ) -> None:
        self._node, self._attachments = node, attachments
        self._outbox, self._addresses, self._threads = outbox, addresses, threads
        self._locks: dict[Attached, asyncio.Lock] = {}
        self._users: Counter[Attached] = Counter()
        self._wishes = Wishes(node.name, attachments, outbox, self._may_run)

    async def do(self, call: Call) -> bytes:
        """What the caller is told. One that is cancelled leaves nothing of its ADD. Raises CniError."""
        try:
            if call.command == "STATUS":
                return self._status()
            if call.command == "GC":
                return await self._collect(call)
            async with self._alone(call.attached):
                if call.command == "ADD":
                    return await self._add(call)
                return await (self._delete(call) if call.command == "DEL" else self._check(call))
        except attach.NoNamespace as error:
            raise CniError(spec.NETNS, f"CNI_NETNS: {error}") from None
        except attach.Taken as error:
            raise CniError(spec.KERNEL, str(error)) from None
        except OSError as error:
            raise CniError(
                spec.KERNEL, f"{call.command} failed in the kernel or on disk", str(error)
            ) from None

    async def resend(self) -> None:
        """The log was read anew, and may be another one."""
        await self._wishes.resend()

    @contextlib.asynccontextmanager
    async def _alone(self, attached: Attached) -> AsyncIterator[None]:
        self._users[attached] += 1
        try:
            async with self._locks.setdefault(attached, asyncio.Lock()):
                yield
        finally:
            self._users[attached] -= 1
            if not self._users[attached]:
                del self._users[attached], self._locks[attached]

    # --- ADD --------------------------------------------------------------------------------------------

    async def _add(self, call: Call) -> bytes:
        before = self._attachments.get(call.config.name, call.attached)
        known = self._addresses.assigned(call.pod)
        if before is not None and not known and self._addresses.trouble:
            known = before.addresses  # the log was not read yet: what was true before a restart is
        kept = before if before is not None and known and known == before.addresses else None
        if kept is not None and not await self._threads.run(_faults, kept, call.netns):
            return results.added(call, kept)
        wish: SandboxRequested | None = None
        if not known or (kept is None and call.pod in self._wishes):
            known = await self._awaited(call, known)
        elif call.pod.static:
            wish = self._wishes.of(call.pod, call.container)
        mtu = call.config.mtu or self._node.mtu or await self._threads.run(attach.uplink_mtu)
        made = self._planned(call, known, mtu)
        await self._wire(made, wish)
        self._node.changed()
        log.info("attached", pod=str(call.pod), addresses=list(known), sandbox=call.container[:13])
        return results.added(call, made)

    async def _wire(self, made: Attachment, wish: SandboxRequested | None) -> None:
        """Raises CniError, Taken, NoNamespace, OSError, and then nothing of it is left."""
        wanted = results.veth_of(made)
        try:
            if wanted.six and made.mtu < SMALLEST_V6:
                raise CniError(spec.CONFIG, f"mtu {made.mtu}: a pod with an IPv6 address needs {SMALLEST_V6}")
            await self._unshared(made)
            self._attachments.put(made)
            if wish is not None:
                await self._outbox.put(wish)
            if wanted.six:
                await self._threads.run(self._node.six)
            await self._threads.run(attach.attach, wanted, made.netns)
        except BaseException:
            await self._forget(made)
            raise

    async def _unshared(self, made: Attachment) -> None:
        """A pod's newer sandbox takes over from its older one. But an address that was another pod's may come
        before that has gone: two that live must not share it. One whose link went with its namespace, and of
        which no DEL came, does not live. No wait lies between the last look and the return. Raises CniError,
        OSError."""
        while other := self._sharer(made):
            if self._busy(other.attached):
                raise _still_wired(made, other)
            async with self._alone(other.attached):
                if await self._threads.run(attach.is_wired, results.veth_of(other).host):
                    raise _still_wired(made, other)
                log.warning("the link of a sandbox is gone, and no DEL came", pod=str(other.pod))
                await self._forget(other)

    def _sharer(self, made: Attachment) -> Attachment | None:
        """Another pod that is wired for one of its addresses."""
        for one in self._attachments:
            if not one.pod.may_be(made.pod) and set(made.addresses).intersection(one.addresses):
                return one
        return None

    def _busy(self, attached: Attached) -> bool:
        lock = self._locks.get(attached)
        return lock is not None and lock.locked()

    def _planned(self, call: Call, addresses: tuple[str, ...], mtu: int = 0) -> Attachment:
        return Attachment(
            network=call.config.name,
            attached=call.attached,
            netns=call.netns,
            pod=call.pod,
            addresses=addresses,
            mtu=mtu,
            requested=call.pod in self._wishes,
        )

    async def _awaited(self, call: Call, known: tuple[str, ...]) -> tuple[str, ...]:
        """Wait for an address. `known`: what an earlier sandbox of the pod had asked for, which may be on its
        way to somebody else now. Raises CniError, NoNamespace, and then its request ends."""
        await self._threads.run(attach.look_into, call.netns)
        # What an earlier ADD gave to this sandbox may be another pod's by now.
        await self._threads.run(attach.detach, veth(call.container, call.ifname).host)
        wish: SandboxRequested | None = None
        if known or call.pod in self._wishes or not self._addresses.denied(call.pod):
            wish = self._wishes.of(call.pod, call.container)
        planned = self._planned(call, ())
        self._attachments.put(planned)
        try:
            if wish is not None and await self._outbox.put(wish) and known:
                return known
            async with asyncio.timeout(self._patience(call)):
                return await self._decided(call.pod, wish if known else None)
        except TimeoutError:
            await self._forget(planned)
            raise CniError(spec.AGAIN, f"no address for pod {call.pod} yet", self._why(call)) from None
        except BaseException:
            await self._forget(planned)
            raise

    async def _decided(self, pod: Pod, doubted: SandboxRequested | None) -> tuple[str, ...]:
        """`doubted`: our wish, where the pod has an address that may be taken from it: what was decided
        before the log had the wish is on its way for a moment."""
        if doubted is not None:
            await self._outbox.stored(doubted)
            await asyncio.sleep(GRACE)
        while not (found := self._addresses.assigned(pod)):
            await self._addresses.news()
        return found

    def _patience(self, call: Call) -> float:
        wanted = call.config.timeout
        return self._node.timeout if wanted is None else wanted

    def _why(self, call: Call) -> str:
        pod, uid_of = call.pod, self._addresses.uid_of(call.pod)
        if why := self._addresses.denied(pod) or self._addresses.trouble or self._outbox.trouble:
            return why
        asked = f"asked {self._patience(call):g} s ago, and nothing was decided"
        if pod.uid and uid_of not in ("", pod.uid):
            return f"{asked}: the log knows the pod of that name with uid {uid_of}, not {pod.uid}"
        return f"{asked}: does `romana-bus run ipam` run?"

    # --- DEL and GC -------------------------------------------------------------------------------------

    async def _delete(self, call: Call) -> bytes:
        there = self._attachments.get(call.config.name, call.attached)
        pod = there.pod if there else call.pod
        with self._wishes.ending(there):
            await self._threads.run(attach.detach, veth(call.container, call.ifname).host)
            if pod.namespace and pod.name and not self._others(call.attached):
                made = there is not None and bool(there.addresses)
                await self._wishes.end(pod, call.container, was_made=made)
            if there is not None:
                self._attachments.drop(*there.key)
                self._node.changed()
                log.info("detached", pod=str(pod), sandbox=call.container[:13])
        return b""

    def _others(self, attached: Attached) -> bool:
        """Whether the sandbox has another interface of ours."""
        return any(
            one.attached.container == attached.container and one.attached != attached
            for one in self._attachments
        )

    async def _forget(self, one: Attachment) -> None:
        """As if there had been no ADD."""
        with self._wishes.ending(one):
            await self._threads.run(attach.detach, results.veth_of(one).host)
            if one.requested:
                await self._wishes.end(one.pod, one.attached.container, was_made=False)
            self._attachments.drop(*one.key)

    async def _may_run(self, pod: Pod) -> bool:
        """Whether the kernel leads what the log gave to that name to a link that no attachment knows: their
        files were lost."""
        addresses = self._addresses.assigned(Pod(pod.namespace, pod.name))
        routed = await self._threads.run(attach.routed) if addresses else {}
        links = {routed[one] for one in addresses if one in routed}
        return not links <= self._attachments.pods().keys()

    async def _collect(self, call: Call) -> bytes:
        """As much as can be, whatever cannot. Raises OSError."""
        valid = {*(call.config.valid or ()), *(call.config.attachments or ())}
        ours = [one for one in self._attachments if one.network == call.config.name]
        failures = []
        for one in ours:
            if one.attached in valid or self._busy(one.attached):
                continue  # what is being attached now is not stale
            gone = call._replace(container=one.attached.container, ifname=one.attached.ifname)
            try:
                async with self._alone(one.attached):
                    await self._delete(gone)
            except OSError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return b""

    # --- CHECK and STATUS -------------------------------------------------------------------------------

    async def _check(self, call: Call) -> bytes:
        wanted, routes = results.expected(call)
        found = await self._threads.run(attach.faults, wanted, call.netns, routes)
        known = self._addresses.assigned(call.pod)
        there = self._attachments.get(call.config.name, call.attached)
        if there is not None and known and known != there.addresses:
            found.append(f"pod {call.pod} has {', '.join(known)} now, and is wired for others")
        if found:
            raise CniError(
                spec.FAULTY, f"the sandbox is not as it was made: {found[0]}", "; ".join(found[1:])
            )
        return b""

    def _status(self) -> bytes:
        if trouble := self._addresses.trouble:
            raise CniError(spec.UNAVAILABLE, "the agent is not in sync with the log", trouble)
        if not self._node.has_block():
            why = "`romana-bus ipam show` says where nodes have a place"
            raise CniError(spec.UNAVAILABLE, f"node {self._node.name} has no block of addresses", why)
        return b""


def _still_wired(made: Attachment, other: Attachment) -> CniError:
    shared = min(set(made.addresses).intersection(other.addresses))
    text = f"{shared} of pod {made.pod} is still wired for pod {other.pod} (uid {other.pod.uid})"
    why = f"its sandbox {other.attached.container} has to be removed first, by DEL or GC"
    return CniError(spec.AGAIN, text, why)


def _faults(one: Attachment, netns: str) -> list[str]:
    wanted = results.veth_of(one)
    return attach.faults(wanted, netns, results.routes(wanted))
