"""`romana-bus up`: watcher, IPAM and a view of both, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from cyclopts import Parameter
from rich.live import Live

from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.reading.tail import tail
from romana_bus.cli.common import console, topology_file
from romana_bus.cli.common.audits import Audits
from romana_bus.cli.common.options import Addresses, Kubernetes, Serving, Store, holder
from romana_bus.cli.common.session import run
from romana_bus.cli.common.terminal import print_line
from romana_bus.cli.events.commands import print_event
from romana_bus.cli.ipam import show
from romana_bus.cli.serve.live import LiveView
from romana_bus.cli.serve.watch import all_kinds
from romana_bus.cli.topology import apply
from romana_bus.cli.topology.overlap import refuse_overlaps
from romana_bus.consumers.ipam import decider
from romana_bus.consumers.ipam_metrics import measured
from romana_bus.errors import BadInput
from romana_bus.events import ROLES, codec
from romana_bus.ipam import State
from romana_bus.ipam.report import views
from romana_bus.producers.kubernetes.objects import BUILT_IN
from romana_bus.runtime.health import Health, served
from romana_bus.runtime.loop import run_decider
from romana_bus.runtime.store_watch import watched_store
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.server import ApiServer
    from romana_bus.lab.recordings.player import Recording

#: The least seconds between two updates of the live view.
REFRESH = 0.5
#: Seconds to wait for the last addresses when a recording has ended.
SETTLE_WITHIN = 30.0


def up(
    *,
    topology_file: Annotated[Path | None, Parameter(name="--topology")] = None,
    recording: Path | None = None,
    speed: float = 1.0,
    plain: Annotated[bool, Parameter(negative="")] = False,
    kubernetes: Kubernetes = Kubernetes(),
    addresses: Addresses = Addresses(),
    audits: Audits = Audits(),
    store: Store = Store(),
    output: Serving = Serving(),
) -> None:
    """Watch a cluster, place its nodes in the topology, and assign addresses to its pods, in one process.

    On a terminal it shows a live view; elsewhere, or with --plain, a line for each event.

    Parameters
    ----------
    topology_file
        Set this topology first, as `topology apply` does.
    recording
        Play a recorded API server from this directory instead of watching a real one, and end with it.
    speed
        Speed of the recording; 2 is twice as fast.
    plain
        Print lines instead of the live view.
    """
    if recording and (kubernetes.server or kubernetes.kubeconfig or kubernetes.context):
        raise BadInput("--recording replaces a cluster: leave out --server, --kubeconfig and --context")
    if not speed > 0:
        raise BadInput(f"--speed {speed}: must be above 0")
    addresses.settings  # noqa: B018  raises BadInput before anything is started
    audits.checked()
    live = sys.stdout.isatty() and not plain and not output.json
    if live and output.log_level == "info":
        output = dataclasses.replace(output, log_level="warning")  # the live view shows the events
    run(_Up(topology_file, kubernetes, addresses, audits, store, output, live).run(recording, speed), output)


class _Up:
    """One run of `up`. `state`: the decider's current state."""

    def __init__(
        self,
        topology_file: Path | None,
        kubernetes: Kubernetes,
        addresses: Addresses,
        audits: Audits,
        store: Store,
        output: Serving,
        live: bool,
    ) -> None:
        self.topology_file, self.kubernetes, self.addresses = topology_file, kubernetes, addresses
        self.audits = audits
        self.store, self.output, self.live = store, output, live
        self.health = Health()
        self.watched = ""
        self.state = State(addresses.settings)

    async def run(self, directory: Path | None, speed: float) -> None:
        async with contextlib.AsyncExitStack() as stack:
            if directory is None:
                await self._everything(stack, self.store.access)
                return
            from romana_bus.lab.recordings.player import Recording

            recording = Recording.load(directory)
            self.watched = f"the recording {directory}, {speed:g} times as fast"
            server = await stack.enter_async_context(_filled(recording))
            # A recorded cluster is not the user's: its store is deleted at the end.
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="romana-bus-"))
            access = self.store.access
            if not access.servers:
                access = msgspec.structs.replace(access, state=Path(scratch))
            self.kubernetes = dataclasses.replace(self.kubernetes, server=server.url)
            await self._everything(stack, access, lambda: self._play(recording, server, speed))
        self._print_result()

    async def _everything(
        self,
        stack: contextlib.AsyncExitStack,
        access: Access,
        play: Callable[[], Any] | None = None,
    ) -> None:
        from romana_bus.kubernetes.api import Api
        from romana_bus.producers.kubernetes.watcher import refuse_forbidden, refuse_unwatchable, run_watcher

        kinds = all_kinds(self.kubernetes)
        wanted = topology_file.checked(self.topology_file) if self.topology_file else None
        api = await stack.enter_async_context(Api(self.kubernetes.target))
        await refuse_forbidden(api, kinds)
        await refuse_unwatchable(api, kinds[len(BUILT_IN) :])
        opened = await open_store(access, self.store.layout, "up", ROLES)
        store = await stack.enter_async_context(opened)
        self.health.watch(store)
        await stack.enter_async_context(watched_store(store, self.health))
        url = await stack.enter_async_context(served(self.output.listen, self.health))
        if wanted is not None:
            current = await apply.current(store)
            merged = apply.merged(current, wanted)
            if merged.document != current.document:  # a restart is not refused for what is in force
                refuse_overlaps(wanted, merged.topology.networks, current.state, ())
            await apply.put(store, current, merged)
        nats = f"NATS {store.wire.info.get('version', '')}"
        title = ", ".join(filter(None, [self.watched or api.server, nats, url and f"{url}/metrics"]))
        jobs = [
            run_watcher(
                store, api, holder(), kinds, health=self.health, beside=self.audits.beside(store, api)
            ),
            run_decider(store, stack.enter_context(measured(self._decider())), holder(), self.health),
            self._show(store, title),
        ]
        await until_one_ends([*jobs, play()] if play else jobs)

    def _decider(self) -> Any:
        def initial() -> State:
            self.state = State(self.addresses.settings)
            return self.state

        return dataclasses.replace(decider(self.addresses.settings, self.addresses.given), initial=initial)

    # --- a recording ----------------------------------------------------------------------------------

    async def _play(self, recording: Recording, server: ApiServer, speed: float) -> None:
        from romana_bus.lab.kubeapi.resources import NODES, PODS
        from romana_bus.lab.recordings.player import final, play_events

        while not self.state.ready:  # earlier changes would come as a list, not as events
            await asyncio.sleep(0.02)
        await play_events(recording, server, speed)
        ended = final(recording)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_WITHIN):
                while not _settled(self.state, set(ended[NODES]), set(ended[PODS])):
                    await asyncio.sleep(0.05)
                await asyncio.sleep(2 * REFRESH)  # let the last events be shown

    def _print_result(self) -> None:
        if self.output.json:
            return
        if not self.live:
            console.console.print()
        console.section("The recording has ended.", summary(self.state))
        show.print_networks(self.state)
        show.print_hosts(self.state)
        show.print_waiting(self.state)

    # --- showing ----------------------------------------------------------------------------------------

    async def _show(self, store: OpenStore, title: str) -> None:
        if not self.live:
            if not self.output.json:
                print_line(f"watching {title}")
            async for batch in tail(store, ROLES, last=0):
                for role, message in batch:
                    print_event(role, message, self.output.json)
                sys.stdout.flush()
            return
        picture = LiveView(title)
        with (
            Live(console=console.console, screen=True, auto_refresh=False, redirect_stderr=False) as live,
            contextlib.redirect_stderr(picture),
        ):
            await until_one_ends([self._collect(store, picture), self._draw(picture, live)])

    async def _collect(self, store: OpenStore, picture: LiveView) -> None:
        async for batch in tail(store, ROLES, last=0):
            for role, message in batch:
                event = codec.decode(message.body)
                if not isinstance(event, codec.Parked):
                    picture.add(role, message, event, console.console.width)

    async def _draw(self, picture: LiveView, live: Live) -> None:
        while True:
            began = time.monotonic()
            width, height = console.console.size
            live.update(picture.render(self.state, width, height, self.health.problems), refresh=True)
            # A view of 5,000 nodes is slow to compute: it may take at most a tenth of the time.
            await asyncio.sleep(max(REFRESH, 10 * (time.monotonic() - began)))


@contextlib.asynccontextmanager
async def _filled(recording: Recording) -> AsyncIterator[ApiServer]:
    from romana_bus.lab.kubeapi.server import ApiServer
    from romana_bus.lab.recordings.player import fill

    server = ApiServer()
    fill(recording, server)
    async with server:
        yield server


def _settled(state: State, nodes: set[str], pods: set[str]) -> bool:
    """Whether the state has what the recording ended with, and every pod an address or a reason."""
    if {name for name, host in state.hosts.items() if host.seen} != nodes or set(state.pods) != pods:
        return False
    wanting = {key for key, pod in state.pods.items() if not pod.unfit}
    answered = {key for host in state.hosts.values() for key, record in host.records.items()
                if record.held or record.code}  # fmt: skip
    return wanting <= answered


def summary(state: State) -> str:
    """The numbers of nodes, pods and addresses in one line."""
    totals = views.totals(state)
    counts = f"{console.many(totals.nodes, 'node')}, {console.many(totals.pods, 'pod')}"
    return f"{counts}; {totals.held:,} of {totals.wanting:,} that need an address have one."
