"""Logs from before there were limits: documents without `wishes`, addresses that are not marked as fixed."""

from __future__ import annotations

from typing import Any

import msgspec

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from tests.ipam.allocate.annotations.annotated import cluster, racks, request, retained, why
from tests.ipam.cluster import Cluster, say
from tests.ipam.fold.state_dump import dump

HOUR = 3600 * SECOND
#: What was possible then.
ANYTHING: dict[str, Any] = {
    "max_per_namespace": 1000, "max_retention": "365d", "max_broken_blocks": "100%",
}  # fmt: skip
#: Fixed addresses of one namespace, in 10 of the 16 blocks of rack a.
FIXED = {f"web/{number:02}": f"10.0.0.{number // 2 * 4 + number % 2 * 3}" for number in range(20)}


def older() -> Cluster:
    """The pods of FIXED run; 10.0.0.1 is kept for db/pg-0 for a year."""
    c = cluster(ANYTHING)
    for pod, address in FIXED.items():
        request(c, pod, "n1", address=address)
    request(c, "db/pg-0", "n1", sticky="365d")
    c.no_pod("db/pg-0")
    c.decide()
    for subject, stored in c.table.items():
        c.table[subject] = stored._replace(event=as_it_was(stored.event))
    return c.rebuilt()


def as_it_was(event: ev.Event) -> ev.Event:
    """The event as an older version wrote it."""
    if isinstance(event, ev.TopologySet | ev.TopologyAccepted):
        return msgspec.structs.replace(event, document=racks())
    if isinstance(event, ev.AddressAssigned):
        addresses = tuple(msgspec.structs.replace(address, fixed=False) for address in event.addresses)
        return msgspec.structs.replace(event, addresses=addresses)
    return event


def test_whoever_runs_keeps_its_address_and_what_is_kept_for_longer_is_shortened() -> None:
    c = older()
    before = c.addresses()
    assert len(before) == 20
    (shortened,) = c.decide()
    assert say(shortened.event).startswith("db/pg-0 on n1: released")
    assert [one.until for one in retained(c)] == [c.state.now + HOUR]
    assert (c.addresses(), c.denied()) == (before, {})
    assert c.rebuilt().says() == []


def test_every_process_reads_and_decides_the_same() -> None:
    c = older()
    one, other = c.rebuilt(), c.rebuilt()
    assert one.decide() == other.decide()
    assert dump(one.state) == dump(other.state)


def test_new_requests_are_limited_and_blocks_that_are_broken_up_already_count() -> None:
    c = older()
    c.decide()
    assert request(c, "web/new", "n1", address="10.0.0.60") == ["web/new on n1: wish_limit"]
    assert "would break up one more block of group a" in why(c, "web/new")
    assert request(c, "web/beside", "n1", address="10.0.0.1")[-1] == "web/beside on n1: wish"  # pg-0's
    assert request(c, "web/other", "n1", address="10.0.0.2")[-1] == "web/other on n1: 10.0.0.2"


def test_addresses_count_for_their_namespace_from_their_next_assignment_on() -> None:
    c = older()
    c.decide()
    for pod in FIXED:
        c.no_pod(pod)
    c.decide()
    for pod, address in FIXED.items():
        request(c, pod, "n1", address=address, uid="2")
    assert sorted(c.denied()) == [f"web/{number}" for number in range(16, 20)]
    assert "namespace web has all of the 16" in why(c, "web/16")
