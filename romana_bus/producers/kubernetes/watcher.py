"""The watcher: a Kubernetes API server's nodes, pods, namespaces and network policies, as facts on KUBE.

Reads the log it writes (what it has told, and how far its watches had come), so any number of watchers
may run: one leads and watches, the others follow the log, ready to go on from the same version. Reads also
which resources somebody wants listed once more. Owns the stream KUBE while it leads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from romana_bus.events import KUBE, SPEC
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.objects import BUILT_IN
from romana_bus.producers.kubernetes.observe import Watched
from romana_bus.producers.kubernetes.pages import Limits
from romana_bus.producers.kubernetes.resource_watch import ResourceWatch
from romana_bus.runtime.feed import Read
from romana_bus.runtime.health import Health
from romana_bus.runtime.loop import run_leading
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from romana_bus.bus.api import Store
    from romana_bus.events import Event
    from romana_bus.producers.kubernetes.client import Api
    from romana_bus.producers.kubernetes.objects import Kind
    from romana_bus.runtime.election import Leadership
    from romana_bus.runtime.fold import Fold


@dataclass(frozen=True)
class _Watcher:
    """As the loop sees it."""

    name: str = "watch"
    writes: str = KUBE
    reads: Sequence[Read] = (Read(KUBE), Read(SPEC, "spec.listing.>"))
    initial: Callable[[], Watched] = Watched
    evolve: Callable[[Watched, Event, int], None] = observe.evolve
    #: What somebody else writes on KUBE is no fact.
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
    """Until cancelled. `beside`: what else is done by whoever leads, and by nobody else. Raises Failed where
    the API server refuses us from the beginning, and Closed."""
    well, answered = health or Health(), set[str]()

    async def govern(fold: Fold[Watched], leadership: Leadership) -> None:
        if fold.why == "rewound" or not fold.whole:
            # The log lost what it had acknowledged, or somebody else wrote over it: all is listed anew.
            for progress in fold.state.progress.values():
                progress.synced = False

        async def publish(events: list[Event]) -> None:
            # Facts have no cause on the log: they are where chains begin.
            await leadership.publish((event, "") for event in events)

        watches = [ResourceWatch(api, kind, fold.state, publish, limits, well, answered) for kind in kinds]
        for kind in kinds:
            well.say(f"watch {kind.name}", "" if fold.state.of(kind.name).synced else "not listed yet")
        try:
            jobs = [*(watch.run() for watch in watches), *(one() for one in beside)]
            await until_one_ends([*jobs, leadership.until_lost(), _told(fold, watches)])
        finally:
            for kind in kinds:
                well.say(f"watch {kind.name}", "")  # whoever stands by has nothing to watch

    await run_leading(store, _Watcher(), holder, govern, well)


async def _told(fold: Fold[Watched], watches: Sequence[ResourceWatch]) -> None:
    """What is asked of the watches, as it comes."""
    while True:
        fold.take()
        for watch in watches:
            watch.look()
        await fold.feed.wait(None)
