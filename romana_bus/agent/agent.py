"""The agent of one node: its CNI server, which answers from the start, and the consumers that follow the log.

The composition root: a consumer that every node is to run is one line in `Agent._consumers`. After every
failure of the log it is opened again; what the kernel has stays meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from romana_bus.agent import node_check
from romana_bus.agent.reach import Reach, host_of
from romana_bus.bus.api import BusError
from romana_bus.bus.auth.permissions import agent_of
from romana_bus.bus.connect import open_store
from romana_bus.cni.link import check
from romana_bus.cni.link.sysctls import NodeSysctls
from romana_bus.cni.server import link_reconciler, server
from romana_bus.cni.server.attachments import Attachments
from romana_bus.cni.server.commands import Commands, Node
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.last_status import LastStatus
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.spool import Spool
from romana_bus.cni.server.threads import Threads
from romana_bus.consumers import routes
from romana_bus.consumers.node_network import node_network
from romana_bus.consumers.pod_addresses import OwnAddresses, projection, report_wired, resend_requests
from romana_bus.errors import BadInput, Failed
from romana_bus.events import IPAM, NODE
from romana_bus.files import single_holder
from romana_bus.inet import parse_address
from romana_bus.netlink.fib_apply import Unapplied
from romana_bus.netlink.socket import Interrupted
from romana_bus.runtime.health import Health, served
from romana_bus.runtime.kept_report import keep_reported
from romana_bus.runtime.loop import run_projection
from romana_bus.runtime.reconcile import run_reconciler
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from romana_bus.bus.connect import Access
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.bus.stream_config import Layout
    from romana_bus.events import NodeNetwork

log = structlog.get_logger(__name__)

#: Seconds of backoff for the log, at first and at most.
BACKOFF, MAX_BACKOFF = 0.25, 5.0


class Settings(NamedTuple):
    """`run_dir`: of the socket and the attachments; empty after a reboot. `state_dir`: of events that the log
    does not have yet; survives a reboot. `mtu`: of pods' links, 0 for that of the default route's link.
    `timeout`: seconds that a pod waits for its address. `status_grace`: seconds for which the last answer to
    STATUS counts after the agent's end. `sets_sysctls`: whether sysctls of the node are set, or only told.
    `api_server`: its host, or ''; no route of ours may lead there."""

    node: str
    run_dir: Path
    state_dir: Path
    mtu: int
    timeout: float
    status_grace: float
    sets_sysctls: bool
    api_server: str = ""


class Agent:
    """One run of the agent. `settings.node`: its node's name in Kubernetes. `access`, `layout`: its log.
    `listen`: where health and metrics are served."""

    def __init__(self, settings: Settings, access: Access, layout: Layout, listen: str) -> None:
        self.settings, self.access, self.layout, self.listen = settings, access, layout, listen
        self.health, self.addresses, self.changed = Health(), OwnAddresses(), asyncio.Event()
        self.threads, self.locked = Threads(), set[str]()
        self.reach = Reach([*map(host_of, access.servers), settings.api_server])

    async def run(self) -> None:
        """Run until cancelled. Raises BadInput, Failed."""
        settings = self.settings
        self.health.say("log", "the log was not reached since the agent started")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.threads.close)
            locks = stack.enter_context(contextlib.ExitStack())
            self._lock(locks)
            attachments, journal = self._kept()
            self.outbox = Outbox(settings.node, journal, self.threads)
            node_sysctls = self._sysctls(attachments)
            self.routes = await stack.enter_async_context(routes.opened(settings.node, self.reach.now))
            with contextlib.suppress(Interrupted):  # the reconciler reads it again
                self.routes.read_network()
            node = Node(
                settings.node, settings.mtu, settings.timeout,
                self._has_block, lambda: node_sysctls.review(six=True), self.changed.set, self._unknown,
                self._needs, lambda: node_sysctls.problems,
            )  # fmt: skip
            self.health.check("node", self._unknown)
            commands = Commands(node, attachments, self.outbox, self.addresses, self.threads)
            spool = self._spool(commands)
            self.health.warn("spool", spool.warnings)
            await spool.take_all()
            status = LastStatus(settings.run_dir / "last-status", settings.status_grace, spool.do)
            links = await stack.enter_async_context(
                link_reconciler.running(attachments, commands, self.threads, node_sysctls, self._needs)
            )
            self.health.check("links", lambda: links.refused)
            self.node_check = await stack.enter_async_context(
                node_check.running(settings.node, self.routes, node_sysctls, self.threads)
            )
            self.health.warn("node", self.node_check.warnings)

            def keep() -> None:
                self._lock(locks)
                attachments.keep()
                journal.keep()

            serving = server.served(
                settings.run_dir, status.do, keep=keep, trouble=lambda why: self.health.say("socket", why)
            )
            path = await stack.enter_async_context(serving)
            log.info("serving romana-cni", socket=str(path), attached=len(list(attachments)))
            await stack.enter_async_context(served(self.listen, self.health))
            await until_one_ends([self._follow(attachments, commands), spool.run(), status.run()])

    def _lock(self, locks: contextlib.ExitStack) -> None:
        """Hold the lock files that are not there: at the start, and where somebody has deleted them. Raises
        Failed, BadInput."""
        run_dir, state_dir = self.settings.run_dir, self.settings.state_dir
        for option, directory, name in (
            ("--run-dir", run_dir, "lock"),
            ("--state-dir", state_dir, "journal.lock"),
        ):
            if name not in self.locked or not (directory / name).exists():
                locks.enter_context(single_holder(option, directory, name))
                self.locked.add(name)

    def _sysctls(self, attachments: Attachments) -> NodeSysctls:
        sysctls = NodeSysctls(sets=self.settings.sets_sysctls)
        sysctls.review(attachments.have_six)
        self.health.check("sysctls", lambda: "; ".join(sysctls.problems))
        self.health.warn("sysctls", lambda: sysctls.warnings)
        return sysctls

    def _has_block(self) -> bool:
        return self.routes.own_blocks > 0

    def _network(self) -> NodeNetwork | None:
        network = self.routes.network
        return node_network(self.settings.node, network) if network else None

    def _needs(self, address: str) -> str:
        return self.routes.kernel.guard.needs(*parse_address(address))

    async def _withdraw_refused(self) -> None:
        """Remove what may be in the way to the log: without the log nobody else does."""
        try:
            await self.routes.withdraw_refused()
        except (OSError, Interrupted, Unapplied) as error:
            log.error("routes in the way to the log could not be looked for, or removed", why=str(error))

    def _unknown(self) -> str:
        """Why the log does not know this node, if it does not for some time, or ''."""
        if not self.routes.unknown:
            return ""
        return f"the log knows no node {self.settings.node}: is that its name in Kubernetes? See --node"

    def _spool(self, commands: Commands) -> Spool:
        """Raises BadInput."""
        try:
            return Spool(self.settings.run_dir / "spool", commands.do)
        except OSError as error:
            raise BadInput(f"--run-dir: {error.filename}: {error.strerror}") from None

    def _kept(self) -> tuple[Attachments, Journal]:
        """Raises BadInput."""
        run_dir, state_dir = self.settings.run_dir, self.settings.state_dir
        try:
            return Attachments(run_dir / "attachments"), Journal(state_dir / "journal")
        except OSError as error:
            raise BadInput(f"--run-dir and --state-dir: {error.filename}: {error.strerror}") from None

    # --- the log ----------------------------------------------------------------------------------------

    async def _follow(self, attachments: Attachments, commands: Commands) -> None:
        """Run the consumers of the log; after every failure open it again."""
        delay = BACKOFF
        while True:
            try:
                async with self._opened() as store:
                    delay = BACKOFF
                    await self.reach.resolve()
                    await until_one_ends(self._consumers(store, attachments, commands))
            except (BusError, Failed) as error:
                self._out_of_reach(str(error))
            await self._withdraw_refused()
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_BACKOFF)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[JetStream]:
        """Raises Failed, BadInput, BusError."""
        client = f"agent {self.settings.node}"
        session = await open_store(
            self.access, self.layout, client, (IPAM, NODE), who=agent_of(self.settings.node),
            creates=False, live=True,
        )  # fmt: skip
        async with session as store:
            self.reach.connected = lambda: store.wire.peer
            self.health.say("log", "")
            self.health.watch(store)
            log.info("the log is reached")
            try:
                yield store
            finally:
                self.reach.connected = str
                self.health.check("log", None)

    def _out_of_reach(self, why: str) -> None:
        self.health.say("log", why)
        if self.outbox.trouble != why:
            log.warning("the log is out of reach: trying again", why=why)
        self.outbox.trouble = why
        if self.addresses.trouble:
            self.addresses.trouble = why

    def _consumers(self, store: JetStream, attachments: Attachments, commands: Commands) -> list[Any]:
        async def wired() -> dict[str, str]:
            routed = await self.threads.run(check.routed)
            pods = {link: str(each.pod) for link, each in attachments.of_links().items()}
            return {address: pods.get(link, "") for address, link in sorted(routed.items())}

        def listings() -> int:
            return self.routes.listings

        return [
            run_projection(store, projection(self.settings.node, self.addresses), self.health),
            self.outbox.run(store),
            resend_requests(self.addresses, commands.resend),
            report_wired(store, self.settings.node, self.addresses, self.changed, wired),
            run_reconciler(store, self.routes.reconciler(), self.health),
            keep_reported(store, self._network, self.routes.network_changed, listings),
            keep_reported(store, self.node_check.report, self.node_check.changed, listings),
            self.reach.keep_up(self.routes.resync),
        ]
