"""`decide` returns the events that have to be published now.

It depends only on the state, so a leader that takes over decides the same. Each decision is folded before the
next one is made, in rounds, until nothing is left to decide.

The first answer for a large cluster has 170,000 events. So `parts` returns it in parts. Between two parts
nothing else may be folded, but the caller may publish, and let others run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import TopologyAccepted
from romana_bus.ipam.allocate.assign import assign_addresses, entries_to_retry, pods_to_assign
from romana_bus.ipam.allocate.context import Context
from romana_bus.ipam.allocate.place_nodes import ReportedAddresses, open_groups, place_hosts
from romana_bus.ipam.allocate.release import release_addresses, release_refused
from romana_bus.ipam.allocate.spare_blocks import open_spare_blocks, release_extra_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.allocate.context import Decision
    from romana_bus.ipam.model.state import State


def decide(state: State) -> list[Decision]:
    """Returns all decisions that are due, in order. They are folded already: a second call returns none."""
    return [decision for part in parts(state) for decision in part]


def parts(state: State, size: int = 1000) -> Iterator[list[Decision]]:
    """Yields the same decisions in parts of about `size`. The caller has to take all, or discard the
    state."""
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
    """Publishes which topology document counts from now on."""
    state = context.state
    if not state.to_accept:
        return
    state.to_accept = False
    if state.accepted != state.in_force:
        context.publish(TopologyAccepted(document=state.in_force), context.topology_cause)


def _round(context: Context) -> Iterator[None]:
    """One round of decisions. Yields whenever there are enough for a part."""
    open_groups(context)
    dirty = context.index.dirty
    records, dirty.records = dirty.records, set()
    yield from release_addresses(context, records)
    hosts, dirty.hosts = dirty.hosts, set()
    if hosts:
        place_hosts(context, hosts, ReportedAddresses(context, records))
        if context.full:
            yield
    yield from assign_addresses(context, pods_to_assign(context, records | entries_to_retry(context)))
    spares, dirty.spares = dirty.spares, set()
    if not spares:
        return
    release_extra_blocks(context, spares)
    if dirty.retry or dirty.spares:
        # Waiting pods come first: they may need the blocks that were released. So do other nodes.
        dirty.spares |= spares
    else:
        open_spare_blocks(context, spares)
