"""`romana-bus agent`: the agent of one node, and the installation of its CNI plugin."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import structlog
from cyclopts import App, Parameter

from romana_bus.bus.api import BusError
from romana_bus.bus.connect import open_store
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import Serving, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.common.terminal import print_line
from romana_bus.cni import spec
from romana_bus.cni.link import attach, sysctls
from romana_bus.cni.plugin import install
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

log = structlog.get_logger(__name__)

RUN_DIR, STATE_DIR = Path("/run/romana-bus"), Path("/var/lib/romana-bus")
#: The most seconds of --timeout: romana-cni waits a little longer by default.
PLUGIN_WAITS = 15.0
#: Seconds of backoff for the log, at first and at most.
BACKOFF, MAX_BACKOFF = 0.25, 5.0

app = App(
    name="agent",
    group_parameters=OPTIONS,
)


@app.default
def agent(
    *,
    node: Annotated[str, Parameter(env_var="ROMANA_NODE")] = "",
    run_dir: Path = RUN_DIR,
    state_dir: Path = STATE_DIR,
    mtu: int = 0,
    timeout: float = spec.TIMEOUT,
    store: Store = Store(),
    output: Serving = Serving(),
) -> None:
    """Run this node's agent until stopped: it attaches pods, and adds routes to the pods of other nodes.

    It serves romana-cni from the start, also while the log cannot be reached. It
    changes nothing when it stops, and adopts existing links and routes when it
    starts again.

    Parameters
    ----------
    node
        Name of this node in Kubernetes; by default the host name.
    run_dir
        Directory of the socket and the attachments; must be empty after a reboot, since links are gone too.
    state_dir
        Directory of events that the log does not have yet; must survive a reboot.
    mtu
        Default MTU of pods' links; 0: that of the default route's link.
    timeout
        Default for the seconds that a pod waits for its address.
    """
    if mtu and not 68 <= mtu <= 65535:
        raise BadInput(f"--mtu {mtu}: must be 0, or between 68 and 65535")
    if not 0 < timeout <= PLUGIN_WAITS:
        raise BadInput(
            f"--timeout {timeout:g}: must be above 0, and at most {PLUGIN_WAITS:g} seconds, since romana-cni "
            'waits for 20. For more, set "timeout" in the network configuration'
        )
    if os.geteuid() != 0:
        raise Failed("the agent changes links and routes: run it as root")
    store.access, store.layout  # noqa: B018  raises BadInput before anything is started
    run(_Agent(node or socket.gethostname(), run_dir, state_dir, mtu, timeout, store, output).run(), output)


@app.command(name="install-cni")
def install_cni(
    *,
    bin_dir: Path = Path("/opt/cni/bin"),
    conf_dir: Path = Path("/etc/cni/net.d"),
    run_dir: Path = RUN_DIR,
    name: str = "romana-bus",
    mtu: int = 0,
) -> None:
    """Install romana-cni and its network configuration where the container runtime looks for them.

    The plugins portmap and bandwidth are chained if they are in BIN_DIR.

    Parameters
    ----------
    bin_dir
        Directory of the runtime's plugins.
    conf_dir
        Directory of the runtime's network configurations.
    run_dir
        The agent's --run-dir.
    name
        Name of the network.
    mtu
        MTU of pods' links; 0: the agent's default.
    """
    done = install.install(bin_dir, conf_dir, run_dir / "cni.sock", name, mtu)
    chain = ", ".join((install.PLUGIN, *done.plugins))
    print_line(str(done.executable))
    print_line(f"{done.conflist}: CNI {done.version}, {chain}")
    if done.first:
        before = ", ".join(done.first)
        print_line(f"the runtime uses the first file by name, which is not this one: remove {before}")


class _Agent:
    """One run of the agent."""

    def __init__(
        self,
        node: str,
        run_dir: Path,
        state_dir: Path,
        mtu: int,
        timeout: float,
        store: Store,
        output: Serving,
    ) -> None:
        self.node, self.run_dir, self.state_dir = node, run_dir, state_dir
        self.mtu, self.timeout, self.store, self.output = mtu, timeout, store, output
        self.health, self.addresses, self.changed = Health(), OwnAddresses(), asyncio.Event()
        self.threads = Threads()

    async def run(self) -> None:
        self.health.say("log", "the log was not reached since the agent started")
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self.threads.close)
            stack.enter_context(single_holder("--run-dir", self.run_dir, "lock"))
            stack.enter_context(single_holder("--state-dir", self.state_dir, "journal.lock"))
            attachments, journal = self._kept()
            self.outbox = Outbox(self.node, journal, self.threads)
            self._forward(attachments)
            self.routes = await stack.enter_async_context(routes.opened(self.node))
            node = Node(
                self.node, self.mtu, self.timeout, self._has_block, sysctls.forward_v6, self.changed.set
            )
            commands = Commands(node, attachments, self.outbox, self.addresses, self.threads)
            path = await stack.enter_async_context(server.served(self.run_dir, commands.do))
            log.info("serving romana-cni", socket=str(path), attached=len(list(attachments)))
            await stack.enter_async_context(served(self.output.listen, self.health))
            await self._follow(attachments, commands)

    def _has_block(self) -> bool:
        return self.routes.own_blocks > 0

    def _kept(self) -> tuple[Attachments, Journal]:
        """Raises BadInput."""
        try:
            return Attachments(self.run_dir / "attachments"), Journal(self.state_dir / "journal")
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
        access, layout = self.store.access, self.store.layout
        session = await open_store(access, layout, f"agent {self.node}", (IPAM, NODE), creates=False)
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
            routed, pods = await self.threads.run(attach.routed), attachments.pods()
            return {address: pods.get(link, "") for address, link in sorted(routed.items())}

        return [
            run_projection(store, projection(self.node, self.addresses), self.health),
            self.outbox.run(store),
            resend_requests(self.addresses, commands.resend),
            report_wired(store, self.node, self.addresses, self.changed, wired),
            run_reconciler(store, self.routes.reconciler(), self.health),
        ]
