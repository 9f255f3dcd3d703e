"""Every decider and every reconciler of ours, over random histories: a plan changes nothing and is the same
again, and a repeated decision yields nothing."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from romana_bus import consumers
from romana_bus.consumers.ipam import decider
from romana_bus.consumers.routes import Routes
from romana_bus.events import Event, ResourceSynced, Settings
from romana_bus.inet import parse_prefix
from romana_bus.netlink.fib_apply import Unapplied
from romana_bus.netlink.monitor import Stale
from romana_bus.routing import Network
from tests import pure
from tests.consumers.random_events import histories
from tests.routing.routes.kernel_in_memory import FakeForwarding

if TYPE_CHECKING:
    from collections.abc import Callable

    from romana_bus.netlink.fib import Forwarding
    from romana_bus.netlink.monitor import Monitor
    from romana_bus.runtime.consumer import Decider, Reconciler


class Quiet:
    """A monitor that hears nothing."""

    def take(self) -> Stale:
        return Stale()


class Node:
    """A routes reconciler whose kernel is in memory, and what may happen to that kernel."""

    def __init__(self, objects: bool) -> None:
        self.kernel = FakeForwarding({"10.99.": 2}, objects)
        self.reconciler = Routes("me", cast("Forwarding", self.kernel), cast("Monitor", Quiet())).reconciler()
        self.outside: list[Callable[[], None]] = [
            lambda: None,
            self.kernel.device_goes,
            self.kernel.device_comes,
            lambda: self.live_on("10.0.0.0/27"),
            self.live_on,
            lambda: self.kernel.remove_route("10.0.0.0/28"),
            lambda: self.kernel.add_foreign_route("10.0.0.16/28", "10.99.0.9", proto="82"),
            lambda: self.kernel.add_foreign_route("10.0.0.16/28", "10.99.0.9", proto="82", metric=7),
        ]

    def live_on(self, *connected: str) -> None:
        self.kernel.lives_on = Network(connected=frozenset(map(parse_prefix, connected)))


#: Module -> one of its deciders or reconcilers, and what may happen outside meanwhile.
DECIDERS: dict[str, Callable[[], Decider[Any]]] = {"ipam": lambda: decider(Settings())}
RECONCILERS: dict[str, Callable[[], Any]] = {
    "routes": lambda: Node(objects=True),
    "routes without nexthop objects": lambda: Node(objects=False),
}


def test_no_consumer_is_missing_here() -> None:
    """A module that makes a decider or a reconciler says so in the type of what it returns."""
    found = set()
    for module in pkgutil.iter_modules(consumers.__path__):
        loaded = importlib.import_module(f"romana_bus.consumers.{module.name}")
        own = [held for held in vars(loaded).values() if getattr(held, "__module__", "") == loaded.__name__]
        functions = [held for held in own if inspect.isfunction(held)]
        for made in filter(inspect.isclass, own):
            functions += [held for _, held in inspect.getmembers(made, inspect.isfunction)]
        returned = {str(inspect.get_annotations(function).get("return")) for function in functions}
        if any(text.startswith(("Decider[", "Reconciler[")) for text in returned):
            found.add(module.name)
    assert found == {name.split()[0] for name in (*DECIDERS, *RECONCILERS)}


@pytest.mark.parametrize("name", DECIDERS)
@given(data=st.data())
@settings(max_examples=150)
def test_a_repeated_decision_yields_nothing(name: str, data: st.DataObject) -> None:
    made = DECIDERS[name]()
    state, seq, now = made.initial(), 0, 1
    listed: list[Event] = [
        ResourceSynced(resource=resource, resource_version="1", count=0) for resource in ("nodes", "pods")
    ]
    for history in [listed, *data.draw(st.lists(histories(made.reads), max_size=6))]:
        for event in history:
            seq += 1
            made.evolve(state, event, seq)
        now += data.draw(st.sampled_from([0, 1, 31_000_000]))
        made.tick(state, now)
        list(made.decide(state))  # twice: see `tests/pure.py`
    assert not pure.FAULTS


@pytest.mark.parametrize("name", RECONCILERS)
@given(data=st.data())
@settings(max_examples=150)
def test_a_plan_changes_nothing_and_is_the_same_again(name: str, data: st.DataObject) -> None:
    there = RECONCILERS[name]()
    made: Reconciler[Any] = there.reconciler
    state, seq = made.initial(), 0

    async def passes() -> None:
        nonlocal seq
        for history in data.draw(st.lists(histories(made.reads), max_size=6)):
            for event in history:
                seq += 1
                made.evolve(state, event, seq)
            data.draw(st.sampled_from(there.outside))()
            actual = await made.observe(state, data.draw(st.booleans()))
            delta = made.plan(state, actual)  # twice: see `tests/pure.py`
            if delta and data.draw(st.booleans()):
                data.draw(st.sampled_from(there.outside))()
                try:
                    await made.apply(delta)
                except Unapplied:
                    pure.plan_twice(made.plan, state, actual)

    asyncio.run(passes())
    assert not pure.FAULTS
