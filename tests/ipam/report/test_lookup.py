"""Lookup of one address: its owner, or why it has none; and reserved ranges."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.ipam.report import lookup
from romana_bus.ipam.report.lookup import AddressView, ReservedView
from tests.ipam.cluster import Cluster, topology


def cluster() -> Cluster:
    groups = ({"name": "a", "groups": [{"name": "a1"}, {"name": "a2"}]}, {"name": "b"}, {"name": "c"})
    c = Cluster(topology("10.0.0.0/26", 30, *groups), warm_blocks=0)
    c.node("n1")
    for name in "pqr":
        c.pod(f"web/{name}", "n1")
    c.decide()
    c.no_pod("web/q")
    c.decide()
    c.send(ev.RangeReserved(cidr="10.0.0.2/31"), ev.RangeReserved(cidr="10.0.0.32/30"))
    return c


def look(text: str) -> AddressView:
    return lookup.address(cluster().state, text)


def test_in_use_and_draining() -> None:
    assert look("10.0.0.0") == AddressView(
        address="10.0.0.0", state="used", network="net", group="a/a1", prefix="10.0.0.0/29",
        block="10.0.0.0/30", node="n1", pod="web/p", pod_node="n1",
    )  # fmt: skip
    found = look("10.0.0.2")
    assert (found.state, found.pod, found.reserved) == ("used", "web/r", "10.0.0.2/31")


def test_cooling_address_with_its_last_pod_and_end() -> None:
    c = cluster()
    found = lookup.address(c.state, "10.0.0.1")
    assert (found.state, found.pod, found.until) == ("cooling", "web/q", c.state.now + 30 * SECOND)
    c.later(30)
    assert lookup.address(c.state, "10.0.0.1").state == "free"


@pytest.mark.parametrize(
    ("text", "state", "group", "block", "reserved"),
    [
        ("10.0.0.3", "reserved", "a/a1", "10.0.0.0/30", "10.0.0.2/31"),
        ("10.0.0.33", "reserved", "c", "", "10.0.0.32/30"),
        ("10.0.0.9", "free", "a/a2", "", ""),
        ("10.0.0.50", "kept", "3", "", ""),
        ("10.0.0.64", "outside", "", "", ""),
        ("fd00::1", "outside", "", "", ""),
    ],
)
def test_unused_addresses(text: str, state: str, group: str, block: str, reserved: str) -> None:
    found = look(text)
    assert (found.state, found.group, found.block, found.reserved) == (state, group, block, reserved)
    assert (found.pod, found.until) == ("", 0)


def test_current_owner_comes_before_the_last_one() -> None:
    c = cluster()
    cooling = ev.CoolingAddress(address="10.0.0.0", block="10.0.0.0/30", until=c.state.now + SECOND)
    c.send(ev.AddressReleased(namespace="web", name="a-former-one", uid="x", node="n0", cooling=(cooling,)))
    assert lookup.address(c.state, "10.0.0.0").pod == "web/p"


def test_addresses_are_named_in_one_way() -> None:
    c = Cluster(topology("fd00::/64", 126))
    c.node("n1")
    c.pod("web/p", "n1")
    c.decide()
    found = lookup.address(c.state, "FD00:0:0::0")
    assert (found.address, found.pod) == ("fd00::", "web/p")


def test_invalid_address_is_refused() -> None:
    for text in ("", "10.0.0", "10.0.0.1/32", "web/p"):
        with pytest.raises(ValueError, match="is not an IP address"):
            look(text)


def test_reserved_ranges_and_used_addresses_in_them() -> None:
    c = cluster()
    assert lookup.reserved(c.state) == (
        ReservedView(cidr="10.0.0.2/31", network="net", size=2, live=1, cooling=0),
        ReservedView(cidr="10.0.0.32/30", network="net", size=4, live=0, cooling=0),
    )
    c.no_pod("web/r")
    c.decide()
    assert lookup.reserved(c.state)[0] == ReservedView(
        cidr="10.0.0.2/31", network="net", size=2, live=0, cooling=1
    )
    c.send(ev.TopologySet(document=topology("10.1.0.0/26", 30)))
    assert [one.network for one in lookup.reserved(c.state)] == ["", ""]
