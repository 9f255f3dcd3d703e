"""The watcher: publishes a Kubernetes API server's nodes, pods, namespaces and network policies as facts on
KUBE.

Reads the stream that it writes: what was published, and the positions of its watches. So any number of
watchers may run: one leads and watches, the standbys follow the log, and can continue from the same version.
Also reads requests for listings (SPEC). Owns the stream KUBE while it leads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from romana_bus.errors import Failed
from romana_bus.events import KUBE, SPEC
from romana_bus.kubernetes.api import CONNECT_WITHIN, NETWORK_ERRORS, read
from romana_bus.kubernetes.status import read_status
from romana_bus.producers.kubernetes import progress
from romana_bus.producers.kubernetes.objects import BUILT_IN
from romana_bus.producers.kubernetes.pages import Limits
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.producers.kubernetes.resource_watch import ResourceWatch
from romana_bus.producers.kubernetes.responses import SAID, allow, rule, unwatchable
from romana_bus.runtime.feed import Read
from romana_bus.runtime.health import Health
from romana_bus.runtime.loop import run_leading
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence

    from romana_bus.bus.api import Store
    from romana_bus.events import Event
    from romana_bus.kubernetes.api import Api
    from romana_bus.producers.kubernetes.objects import Kind
    from romana_bus.runtime.election import Leadership
    from romana_bus.runtime.fold import Fold


#: Seconds between two looks at which deletions are old.
FORGET_EVERY = 60.0


@dataclass(frozen=True)
class _Watcher:
    """The watcher as a consumer."""

    name: str = "watch"
    writes: str = KUBE
    reads: Sequence[Read] = (Read(KUBE), Read(SPEC, "spec.listing.>"))
    initial: Callable[[], Watched] = Watched
    evolve: Callable[[Watched, Event, int], None] = progress.evolve
    evolve_with_body: Callable[[Watched, Event, int, bytes], None] = progress.evolve
    forget_old: Callable[[Watched, int], None] = progress.forget_old
    #: Messages on KUBE that a leader did not write are parked.
    strict: bool = True


async def run_watcher(
    store: Store,
    api: Api,
    holder: str,
    kinds: Sequence[Kind] = BUILT_IN,
    limits: Limits = Limits(),
    health: Health | None = None,
    beside: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Run until cancelled. `beside`: more jobs that only the leader runs. Raises Failed if the API server
    refuses us from the beginning, and Closed."""
    health, answered = health or Health(), set[str]()

    async def lead(fold: Fold[Watched], leadership: Leadership) -> None:
        if fold.why == "rewound" or not fold.whole:
            # The log lost acknowledged messages, or somebody else wrote over them: list everything again.
            for resource in fold.state.progress.values():
                resource.synced = False

        async def publish(events: list[Event]) -> None:
            # Facts have no cause on the log: chains of causes begin with them.
            await leadership.publish(((event, "") for event in events), fold.state.take_bodies())

        watches = [ResourceWatch(api, kind, fold.state, publish, limits, health, answered) for kind in kinds]
        for kind in kinds:
            health.say(f"watch {kind.name}", "" if fold.state.of(kind.name).synced else "not listed yet")
        try:
            jobs = [*(watch.run() for watch in watches), *(job() for job in beside)]
            await until_one_ends([*jobs, leadership.until_lost(), _follow_requests(fold, watches)])
        finally:
            for kind in kinds:
                health.say(f"watch {kind.name}", "")  # a standby has nothing to watch

    await run_leading(store, _Watcher(), holder, lead, health)


async def refuse_unwatchable(api: Api, kinds: Iterable[Kind]) -> None:
    """Raises Failed if the API server offers no watch for one of the kinds. If the server does not answer,
    nothing is checked."""
    lists = ((kind, kind.path.rpartition("/")[0]) for kind in kinds)
    async for kind, status, body in _answers(api, lists, {}):
        if status == 200 and (why := unwatchable(body, kind)):
            raise Failed(f"--resource {kind.name}: {why}")


async def refuse_forbidden(api: Api, kinds: Iterable[Kind]) -> None:
    """Raises Failed with the rules of all kinds that may not be listed. If the server does not answer,
    nothing is checked."""
    missing, said = list[str](), ""
    async for kind, status, body in _answers(api, ((kind, kind.path) for kind in kinds), {"limit": "1"}):
        if status == 403:
            missing.append(rule(kind))
            said = said or read_status(403, body).message[:SAID]
    if missing:
        raise Failed(f"{said}. {allow(missing)}")


async def _answers(
    api: Api, paths: Iterable[tuple[Kind, str]], query: dict[str, str]
) -> AsyncIterator[tuple[Kind, int, bytes]]:
    """Yields (kind, status, body) of a request to each path, until the server does not answer."""
    for kind, path in paths:
        try:
            async with await api.get(path, query, CONNECT_WITHIN) as answer:
                body = await read(answer, most=16 << 20, within=30.0)
        except NETWORK_ERRORS:
            return
        yield kind, answer.status, body


async def _follow_requests(fold: Fold[Watched], watches: Sequence[ResourceWatch]) -> None:
    """Pass requests for listings to the watches, as they arrive; and forget old deletions."""
    while True:
        fold.take()
        for watch in watches:
            watch.look()
        await fold.feed.wait(FORGET_EVERY)
