"""The network under the nodes, on the real kernel."""

from __future__ import annotations

import os
import subprocess

import pytest

from romana_bus.errors import Failed
from romana_bus.lab.cluster import down, fabric
from romana_bus.lab.inspect import reachability
from romana_bus.lab.machine import netns
from romana_bus.lab.spec import Spec
from tests.lab import iproute
from tests.lab.cluster.lab import links_of
from tests.lab.conftest import needs_root

pytestmark = needs_root


def build(spec: Spec) -> Spec:
    fabric.build_router(spec)
    for node in spec.nodes:
        fabric.build_node(spec, node)
    return spec


def reaches(spec: Spec, source: str, address: str) -> bool:
    return bool(reachability.ping(spec.namespace(source), address, 3).received)


def test_nodes_reach_each_other_in_their_zone_and_across(lab: Spec) -> None:
    spec = build(Spec(name=lab.name, ipv6=True))
    for target in spec.nodes:
        for address in target.addresses:
            assert reaches(spec, "a1", address), address
    hops = subprocess.run(
        ["ip", "netns", "exec", spec.namespace("a1"), "ping", "-c1", "-t1", "-W1", "172.31.2.11"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "From 172.31.1.1 " in hops.stdout  # zones are joined by the router


def test_host_namespace_gets_no_link(lab: Spec) -> None:
    build(lab)
    assert not links_of(lab) & set(os.listdir("/sys/class/net"))


def test_a_node_whose_link_is_cut_is_cut_off_and_can_come_back_at_once(lab: Spec) -> None:
    spec = build(lab)
    node = spec.node("a2")
    for _ in range(3):
        fabric.cut(spec, node)
        assert not reachability.ping(spec.namespace("a1"), node.addresses[0], 1).received
        netns.delete(spec.namespace("a2"))
        fabric.build_node(spec, node)
        assert reaches(spec, "a1", node.addresses[0])
    fabric.cut(spec, node)
    fabric.cut(spec, node)  # may be repeated


@pytest.mark.parametrize("prefix", ["10.20.0.0/17", "fd20::/49"])
def test_router_uses_only_live_next_hops(lab: Spec, prefix: str) -> None:
    spec = build(Spec(name=lab.name, ipv6=True))
    zone = spec.zone("zone-a")
    family = "-6" if ":" in prefix else "-4"

    def legs() -> set[str]:
        (route,) = iproute.asked(spec.router, family, "route", "show", "exact", prefix)
        hops = route.get("nexthops") or [route]
        return {str(hop["gateway"]) for hop in hops if "gateway" in hop}

    at = 1 if ":" in prefix else 0
    every = {node.name: node.addresses[at] for node in zone.nodes}
    fabric.route_zone(spec, zone, [prefix], every)
    assert legs() == set(every.values())
    fabric.route_zone(spec, zone, [prefix], ["a2"])
    assert legs() == {every["a2"]}
    fabric.route_zone(spec, zone, [prefix], [])
    assert legs() == set()
    fabric.route_zone(spec, zone, [prefix], every)
    assert legs() == set(every.values())


def test_two_labs_may_have_the_same_addresses(lab: Spec) -> None:
    build(lab)
    other = Spec(name=f"{lab.name}x")
    try:
        build(other)
        assert reaches(other, "a1", "172.31.2.12")
        down.down(other.name)
        assert reaches(lab, "a1", "172.31.2.12")
        assert not netns.named(other.prefix)
    finally:
        down.down(other.name)


def test_kernel_error_is_one_line(lab: Spec) -> None:
    build(lab)
    with pytest.raises(Failed, match=r"failed: .*File exists"):
        fabric.build_router(lab)
