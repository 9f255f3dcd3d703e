"""`decide`: what has to be published now.

It looks only at the state: a need that was there before a crash is there after it. Each decision is
folded before the next one is taken, and rounds go on until nothing is left to decide.

The first decision of a large cluster is 170,000 events. So it can be had in parts: between two parts
nothing else may be folded, but the caller may publish, and let others run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import SPEC, TopologyAccepted
from romana_bus.ipam.allocate.assign import give, retried, wanting
from romana_bus.ipam.allocate.context import Context
from romana_bus.ipam.allocate.place_nodes import Reports, open_groups, place_hosts
from romana_bus.ipam.allocate.release import release_addresses, release_refused
from romana_bus.ipam.allocate.spare_blocks import stock, tidy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.allocate.context import Decision
    from romana_bus.ipam.model.state import State


def decide(state: State) -> list[Decision]:
    """Everything that is due, in order, and folded already. Asked again, it has nothing to say."""
    return [decision for part in parts(state) for decision in part]


def parts(state: State, size: int = 1000) -> Iterator[list[Decision]]:
    """The same in parts of about `size`. Has to be exhausted, or the state thrown away."""
    if not state.ready:
        return
    context = Context(state, size)
    _accept(context)
    if state.refused:
        release_refused(context)
    while context.refreshed().dirty:
        for _ in _round(context):
            yield context.taken()
    state.removed.clear()
    if context.decisions:
        yield context.taken()


def _accept(context: Context) -> None:
    """By which document it is decided from here on."""
    state = context.state
    if not state.to_accept:
        return
    state.to_accept = False
    if state.accepted != state.in_force:
        cause = f"{SPEC}/{state.wanted_seq}" if state.documented and state.wanted_seq else ""
        context.publish(TopologyAccepted(document=state.in_force), cause)


def _round(context: Context) -> Iterator[None]:
    """Yields wherever a part has come together."""
    open_groups(context)
    dirty = context.index.dirty
    records, dirty.records = dirty.records, set()
    yield from release_addresses(context, records)
    hosts, dirty.hosts = dirty.hosts, set()
    if hosts:
        place_hosts(context, hosts, Reports(context.state, records))
        if context.full:
            yield
    yield from give(context, wanting(context, records | retried(context)))
    stocks, dirty.stocks = dirty.stocks, set()
    if not stocks:
        return
    tidy(context, stocks)
    if dirty.rooms:
        dirty.stocks |= stocks  # waiting pods have first choice of what was released
    else:
        stock(context, stocks)
