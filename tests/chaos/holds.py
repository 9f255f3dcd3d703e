"""What holds when a day with faults is over, told from the whole log, the tables, and an undisturbed day.

A fact is on the log once. Nothing may be told twice, not even behind a new listing: a listing tells only
what differs from what the log has. A resource that was listed once, at the start, was watched all day
without a gap: its facts are the same ones in the same order. Of one that had to be listed again, versions
in between may be missing (whoever lists sees the present only), and with them entities that came and went.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from romana_bus.events import (
    IPAM,
    KUBE,
    AddressAssigned,
    AddressDenied,
    BlockAssigned,
    Fact,
    HostPlaced,
    LeaderElected,
    PodSeen,
    ResourceListing,
    ResourceSynced,
)
from romana_bus.inet import parse_address, parse_prefix
from romana_bus.ipam.fold.facts import FINISHED
from romana_bus.producers.kubernetes.objects import BUILT_IN, KIND_OF
from tests.chaos.ending import without_version
from tests.chaos.ledger import Ledger

if TYPE_CHECKING:
    from romana_bus.bus.api import Message
    from romana_bus.events import Event
    from romana_bus.producers.kubernetes.objects import Kind
    from tests.chaos.ending import Ending, Stored


def everything(end: Ending, undisturbed: Ending, seen: list[tuple[str, Message]]) -> None:
    nothing_that_was_seen_is_lost(end, seen)
    tables_match_the_log(end)
    terms_rise(end)
    facts_come_once_and_in_order(end.logs[KUBE])
    facts_are_those_of(undisturbed, end)
    no_fact_is_missing_where_none_was_overlooked(undisturbed, end)
    hosts_are_where_they_are_in(undisturbed, end)
    every_pod_has_its_address(end)
    Ledger().walk(end.logs[IPAM])


def nothing_that_was_seen_is_lost(end: Ending, seen: list[tuple[str, Message]]) -> None:
    """No log has a hole, and whatever a reader was shown on the way stands where it stood."""
    for role, log in end.logs.items():
        assert [stored.seq for stored in log] == list(range(1, len(log) + 1)), role
    for role, message in seen:
        stored = end.logs[role][message.seq - 1]
        assert (stored.id, stored.event.subject()) == (message.id, message.subject), (role, message)


def tables_match_the_log(end: Ending) -> None:
    for role, log in end.logs.items():
        assert end.tables[role] == {stored.event.subject(): stored for stored in log}, role


def terms_rise(end: Ending) -> None:
    """Each leader on a stream knew of all before it."""
    for role, log in end.logs.items():
        terms = [stored.event.term for stored in log if isinstance(stored.event, LeaderElected)]
        assert terms == list(range(1, len(terms) + 1)), role


def facts_come_once_and_in_order(log: list[Stored]) -> None:
    last: dict[str, Fact] = {}
    synced: dict[str, int] = {}
    for stored in log:
        event = stored.event
        if isinstance(event, ResourceSynced):
            version = int(event.resource_version)
            assert version >= synced.get(event.resource, 0), f"KUBE/{stored.seq} goes back: {event}"
            synced[event.resource] = version
        if isinstance(event, Fact):
            before = last.get(event.subject())
            assert _is_news(event, before), f"KUBE/{stored.seq}: {event} behind {before}"
            last[event.subject()] = event


def _is_news(fact: Fact, before: Fact | None) -> bool:
    if before is None:
        return not fact.tombstone
    if int(fact.resource_version) <= int(before.resource_version):
        return False
    if fact.tombstone:
        return not before.tombstone and fact.uid == before.uid
    return before.tombstone or without_version(fact) != without_version(before)


def facts_are_those_of(undisturbed: Ending, end: Ending) -> None:
    """Every field of every entity. The version may be a later one, where a listing told it: versions
    that change no field in use are not told otherwise."""
    wanted, found = undisturbed.facts(), end.facts()
    there = {subject for subject, fact in wanted.items() if not fact.tombstone}
    assert {subject for subject, fact in found.items() if not fact.tombstone} == there
    assert not (unknown := found.keys() - wanted.keys()), unknown
    for subject, fact in found.items():
        assert type(fact) is type(wanted[subject])
        assert without_version(fact) == without_version(wanted[subject])
        assert int(fact.resource_version) >= int(wanted[subject].resource_version)


def no_fact_is_missing_where_none_was_overlooked(undisturbed: Ending, end: Ending) -> None:
    events = [stored.event for stored in end.logs[KUBE]]
    listings = Counter(event.resource for event in events if isinstance(event, ResourceListing))
    # Deletions that came too fast to be believed at once are told by another list, which sees the present.
    again = {event.resource for event in events if isinstance(event, ResourceSynced) and event.number > 1}
    for kind in BUILT_IN:
        if listings[kind.name] == 1 and kind.name not in again:
            assert _facts_of(kind, end) == _facts_of(kind, undisturbed), kind.name


def _facts_of(kind: Kind, ending: Ending) -> list[Event]:
    return [stored.event for stored in ending.logs[KUBE] if KIND_OF.get(type(stored.event)) == kind.name]


def hosts_are_where_they_are_in(undisturbed: Ending, end: Ending) -> None:
    assert end.newest(HostPlaced) == undisturbed.newest(HostPlaced)
    assert end.newest(HostPlaced), "nobody was placed"


def every_pod_has_its_address(end: Ending) -> None:
    """One each, in a block of its node; which one is up to the order of things. Nobody else has any."""
    blocks: dict[str, Any] = {event.block: event for event in end.newest(BlockAssigned).values()}  # type: ignore[attr-defined]
    given: dict[str, Any] = {
        f"{event.namespace}/{event.name}": event  # type: ignore[attr-defined]
        for event in end.newest(AddressAssigned).values()
    }
    wanting = {
        f"{p.namespace}/{p.name}": p for p in end.facts().values() if _wants(p) and isinstance(p, PodSeen)
    }
    assert given.keys() == wanting.keys()
    assert not end.newest(AddressDenied)
    for key, event in given.items():
        assert (event.node, event.uid) == (wanting[key].node, wanting[key].uid)
        [address] = event.addresses
        assert blocks[address.block].node == event.node
        prefix = parse_prefix(address.block)
        assert prefix.base <= parse_address(address.address)[1] < prefix.end
    addresses = [event.addresses[0].address for event in given.values()]
    assert len(addresses) == len(set(addresses)) > 0


def _wants(fact: Fact) -> PodSeen | None:
    """The pod that has to have an address, if it is one."""
    if not isinstance(fact, PodSeen) or not fact.node or fact.host_network or fact.phase in FINISHED:
        return None
    return fact
