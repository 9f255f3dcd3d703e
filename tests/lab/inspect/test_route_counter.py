"""Counting route changes from kernel notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.errors import Failed
from romana_bus.inet import parse_prefix
from romana_bus.lab.inspect.route_counter import Change, Monitors, Tally, tally
from romana_bus.lab.machine import netns
from tests.lab import iproute
from tests.lab.conftest import needs_root

if TYPE_CHECKING:
    from romana_bus.lab.spec import Spec

ZONE = [parse_prefix("10.20.0.0/17"), parse_prefix("fd20::/49")]


@needs_root
def test_route_changes_are_counted_per_namespace(lab: Spec) -> None:
    one, two = lab.namespace("n1"), lab.namespace("n2")
    for name in (one, two):
        netns.add(name)
        iproute.batch(name, ["link add v type veth peer name w", "link set v up", "link set w up"])
        iproute.batch(name, ["address add 192.0.2.1/24 dev v", "address add fd00::1/64 dev v nodad"])
    with Monitors([one, two]) as monitors:
        iproute.batch(
            one,
            [
                "route add 10.20.0.8/29 via 192.0.2.2 proto 82",
                "route add 10.20.0.9/32 dev v proto 83",
                "route add fd20::8/125 via fd00::2 proto 82",
                "route add 10.99.0.0/16 via 192.0.2.2 table 100",
                "route delete 10.20.0.8/29",
            ],
        )
        heard = monitors.take()
        assert monitors.take() == {one: [], two: []}
    assert heard[one] == [
        Change(True, "10.20.0.8/29", 82),
        Change(True, "10.20.0.9/32", 83),
        Change(True, "fd20::8/125", 82),
        Change(False, "10.20.0.8/29", 82),
    ]
    assert heard[two] == []


@needs_root
def test_a_namespace_that_is_not_there_is_named(lab: Spec) -> None:
    with pytest.raises(Failed, match=f"no network namespace {lab.router}"), Monitors([lab.router]):
        pass


def test_pods_own_routes_and_those_of_links_are_counted_apart() -> None:
    changes = [
        Change(True, "10.20.0.8/29", 82),
        Change(True, "10.20.0.0/28", 82),
        Change(False, "10.20.0.8/29", 82),
        Change(True, "10.20.0.9/32", 83),
        Change(True, "fe80::/64", 2),
        Change(True, "10.20.128.8/29", 82),
    ]
    assert tally(changes, ZONE) == Tally(outside=1, inside=2, replaced=1, own=2)
    assert tally(changes, ()).outside == 4  # at the router everything is outside
