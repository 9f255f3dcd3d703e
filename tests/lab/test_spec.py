"""What a lab consists of, from a few numbers."""

from __future__ import annotations

import pytest

from romana_bus.errors import BadInput
from romana_bus.ipam.topology.document import parse
from romana_bus.lab.spec import Spec, labels


def test_zones_and_nodes_have_names_and_subnets_of_their_own() -> None:
    spec = Spec(zones=2, nodes_per_zone=2, ipv6=True)
    assert [(node.name, node.zone, node.addresses) for node in spec.nodes] == [
        ("a1", "zone-a", ("172.31.1.11", "fd31:0:0:1::b")),
        ("a2", "zone-a", ("172.31.1.12", "fd31:0:0:1::c")),
        ("b1", "zone-b", ("172.31.2.11", "fd31:0:0:2::b")),
        ("b2", "zone-b", ("172.31.2.12", "fd31:0:0:2::c")),
    ]
    assert [zone.gateways for zone in spec.zone_list] == [
        ("172.31.1.1", "fd31:0:0:1::1"),
        ("172.31.2.1", "fd31:0:0:2::1"),
    ]


def test_the_largest_lab_has_no_address_twice() -> None:
    spec = Spec(zones=16, nodes_per_zone=32, ipv6=True).checked()
    addresses = [one for zone in spec.zone_list for one in zone.gateways]
    addresses += [one for node in spec.nodes for one in node.addresses]
    assert len(set(addresses)) == len(addresses) == 2 * (16 + 16 * 32)


@pytest.mark.parametrize("ipv6", [False, True])
def test_its_topology_has_a_group_for_each_zone_that_takes_its_nodes(ipv6: bool) -> None:
    spec = Spec(zones=3, ipv6=ipv6)
    topology = parse(spec.topology())
    assert len(topology.networks) == (2 if ipv6 else 1)
    for network in topology.networks:
        for node in spec.nodes:
            assert [leaf.group for leaf in network.leaves if leaf.admits(labels(node))] == [node.zone]


@pytest.mark.parametrize("name", ["", "A", "a-b", "a.b", "abcdefghijklm", "../x", "ä"])
def test_name_unusable_for_namespaces_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="lower-case letters and digits"):
        Spec(name=name).checked()


@pytest.mark.parametrize(("zones", "nodes"), [(0, 2), (17, 2), (2, 0), (2, 33), (-1, 1)])
def test_invalid_sizes_are_refused(zones: int, nodes: int) -> None:
    with pytest.raises(BadInput, match="between 1 and"):
        Spec(zones=zones, nodes_per_zone=nodes).checked()


def test_unknown_name_error_lists_the_known_ones() -> None:
    with pytest.raises(BadInput, match="no node c1: it has a1, a2, b1, b2"):
        Spec().node("c1")
    with pytest.raises(BadInput, match="no zone a: it has zone-a, zone-b"):
        Spec().zone("a")
