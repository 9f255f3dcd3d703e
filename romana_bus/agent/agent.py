"""The agent of one node: its CNI server, which answers from the start, and the consumers that follow the log.

The composition root: a consumer that every node is to run is one line in `Agent._consumers`. After every
failure of the log it is opened again; what the kernel has stays meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from romana_bus.bus.api import BusError
from romana_bus.bus.connect import open_store
from romana_bus.cni.link import check, sysctls
from romana_bus.cni.server import server
from romana_bus.cni.server.attachments import Attachments
from romana_bus.cni.server.commands import Commands, Node
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.threads import Threads
from romana_bus.consumers import routes
from romana_bus.consumers.pod_addresses import OwnAddresses, projection, report_wired, resend_requests
from romana_bus.errors import BadInput, Failed
from romana_bus.events import IPAM, NODE
from romana_bus.files import single_holder
from romana_bus.runtime.health import Health, served
from romana_bus.runtime.loop import run_projection
from romana_bus.runtime.reconcile import run_reconciler
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from romana_bus.bus.connect import Access
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.bus.stream_config import Layout

log = structlog.get_logger(__name__)

#: Seconds of backoff for the log, at first and at most.
BACKOFF, MAX_BACKOFF = 0.25, 5.0


class Settings(NamedTuple):
    """`run_dir`: of the socket and the attachments; empty after a reboot. `state_dir`: of events that the log
    does not have yet; survives a reboot. `mtu`: of pods' links, 0 for that of the default route's link.
    `timeout`: seconds that a pod waits for its address."""

    node: str
    run_dir: Path
    state_dir: Path
    mtu: int
    timeout: float


class Agent:
    """One run of the agent. `settings.node`: its node's name in Kubernetes. `access`, `layout`: its log.
    `listen`: where health and metrics are served."""

    def __init__(self, settings: Settings, access: Access, layout: Layout, listen: str) -> None:
        self.settings, self.access, self.layout, self.listen = settings, access, layout, listen
        self.health, self.addresses, self.changed = Health(), OwnAddresses(), asyncio.Event()
        self.threads = Threads()

    async def run(self) -> None:
        """Run until cancelled. Raises BadInput, Failed."""
        settings = self.settings
        self.health.say("log", "the log was not reached since the agent started")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.threads.close)
            stack.enter_context(single_holder("--run-dir", settings.run_dir, "lock"))
            stack.enter_context(single_holder("--state-dir", settings.state_dir, "journal.lock"))
            attachments, journal = self._kept()
            self.outbox = Outbox(settings.node, journal, self.threads)
            self._forward(attachments)
            self.routes = await stack.enter_async_context(routes.opened(settings.node))
            node = Node(
                settings.node, settings.mtu, settings.timeout,
                self._has_block, sysctls.forward_v6, self.changed.set,
            )  # fmt: skip
            commands = Commands(node, attachments, self.outbox, self.addresses, self.threads)
            path = await stack.enter_async_context(server.served(settings.run_dir, commands.do))
            log.info("serving romana-cni", socket=str(path), attached=len(list(attachments)))
            await stack.enter_async_context(served(self.listen, self.health))
            await self._follow(attachments, commands)

    def _has_block(self) -> bool:
        return self.routes.own_blocks > 0

    def _kept(self) -> tuple[Attachments, Journal]:
        """Raises BadInput."""
        run_dir, state_dir = self.settings.run_dir, self.settings.state_dir
        try:
            return Attachments(run_dir / "attachments"), Journal(state_dir / "journal")
        except OSError as error:
            raise BadInput(f"--run-dir and --state-dir: {error.filename}: {error.strerror}") from None

    def _forward(self, attachments: Attachments) -> None:
        """Raises Failed."""
        try:
            sysctls.forward_v4()
            sysctls.warn_of_loose_filters()
            if any(":" in address for attachment in attachments for address in attachment.addresses):
                sysctls.forward_v6()
        except OSError as error:
            raise Failed(f"cannot turn on forwarding: {error.filename}: {error.strerror}") from None

    # --- the log ----------------------------------------------------------------------------------------

    async def _follow(self, attachments: Attachments, commands: Commands) -> None:
        """Run the consumers of the log; after every failure open it again."""
        delay = BACKOFF
        while True:
            try:
                async with self._opened() as store:
                    delay = BACKOFF
                    await until_one_ends(self._consumers(store, attachments, commands))
            except (BusError, Failed) as error:
                self._out_of_reach(str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, MAX_BACKOFF)

    @contextlib.asynccontextmanager
    async def _opened(self) -> AsyncIterator[JetStream]:
        """Raises Failed, BadInput, BusError."""
        client = f"agent {self.settings.node}"
        session = await open_store(self.access, self.layout, client, (IPAM, NODE), creates=False)
        async with session as store:
            self.health.say("log", "")
            self.health.watch(store)
            log.info("the log is reached")
            try:
                yield store
            finally:
                self.health.check("log", None)

    def _out_of_reach(self, why: str) -> None:
        self.health.say("log", why)
        self.outbox.trouble = why
        if self.addresses.trouble:
            self.addresses.trouble = why
        log.warning("the log is out of reach: trying again", why=why)

    def _consumers(self, store: JetStream, attachments: Attachments, commands: Commands) -> list[Any]:
        async def wired() -> dict[str, str]:
            routed, pods = await self.threads.run(check.routed), attachments.pods()
            return {address: pods.get(link, "") for address, link in sorted(routed.items())}

        return [
            run_projection(store, projection(self.settings.node, self.addresses), self.health),
            self.outbox.run(store),
            resend_requests(self.addresses, commands.resend),
            report_wired(store, self.settings.node, self.addresses, self.changed, wired),
            run_reconciler(store, self.routes.reconciler(), self.health),
        ]
