"""Romana's topology document: how it splits, and what is wrong with it, where."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from romana_bus.inet import parse_prefix
from romana_bus.ipam import BadTopology, parse
from tests.ipam.cluster import topology
from tests.ipam.documents import documents, usable

LEAF: dict[str, Any] = {"groups": []}


def leaves(document: dict[str, Any]) -> list[tuple[str, str]]:
    return [(leaf.group, str(leaf.prefix)) for leaf in parse(document).leaves]


def problems(document: Any) -> list[tuple[str, str]]:
    with pytest.raises(BadTopology) as caught:
        parse(document)
    return [(problem.place, problem.kind) for problem in caught.value.problems]


def test_one_entry_takes_the_whole_network() -> None:
    assert leaves(topology("10.0.0.0/16", 28, {"name": "all", **LEAF})) == [("all", "10.0.0.0/16")]


def test_a_level_is_split_evenly_and_in_order() -> None:
    four = [{"name": name, **LEAF} for name in "abcd"]
    assert leaves(topology("10.111.0.0/16", 28, *four)) == [
        ("a", "10.111.0.0/18"),
        ("b", "10.111.64.0/18"),
        ("c", "10.111.128.0/18"),
        ("d", "10.111.192.0/18"),
    ]


def test_groups_in_groups_are_split_again() -> None:
    racks = [{"name": f"rack-{n}", **LEAF} for n in range(4)]
    zones = [{"name": "zone-a", "groups": racks}, {"name": "zone-b", "groups": racks[:2]}]
    assert leaves(topology("10.111.0.0/16", 28, *zones)) == [
        ("zone-a/rack-0", "10.111.0.0/19"),
        ("zone-a/rack-1", "10.111.32.0/19"),
        ("zone-a/rack-2", "10.111.64.0/19"),
        ("zone-a/rack-3", "10.111.96.0/19"),
        ("zone-b/rack-0", "10.111.128.0/18"),
        ("zone-b/rack-1", "10.111.192.0/18"),
    ]


def test_a_group_without_a_name_is_called_by_its_place() -> None:
    document = topology("10.0.0.0/16", 28, LEAF, {"groups": [LEAF, {"name": "x", **LEAF}]})
    assert [group for group, _ in leaves(document)] == ["0", "1/0", "1/x"]


def test_six_splits_like_four() -> None:
    three = [{"name": name, **LEAF} for name in "abc"]
    assert leaves(topology("fd00::/48", 122, *three)) == [
        ("a", "fd00::/50"),
        ("b", "fd00:0:0:4000::/50"),
        ("c", "fd00:0:0:8000::/50"),
    ]


def test_a_map_that_several_networks_share_is_split_in_each() -> None:
    document = {
        "networks": [{"name": "four", "cidr": "10.0.0.0/16"}, {"name": "six", "cidr": "fd00::/64"}],
        "topologies": [{"networks": ["four", "six"], "map": [{"name": "a", **LEAF}, {"name": "b", **LEAF}]}],
    }
    assert [prefix for _, prefix in leaves(document)] == [
        "10.0.0.0/17",
        "10.0.128.0/17",
        "fd00::/65",
        "fd00::8000:0:0:0/65",
    ]
    assert [network.block_length for network in parse(document).networks] == [29, 125]


def test_routing_is_kept_as_it_was_written() -> None:
    routing = {"announce": "prefix", "by": "bgp"}
    document = topology("10.0.0.0/16", 28, {"name": "a", "routing": routing, **LEAF})
    assert parse(document).leaves[0].routing == routing


def test_a_block_mask_of_the_network_itself_is_one_block() -> None:
    assert parse(topology("10.0.0.0/30", 30)).networks[0].block_length == 30
    document = topology("10.0.0.0/31", 31)
    del document["networks"][0]["block_mask"]
    assert parse(document).networks[0].block_length == 31


def test_all_errors_are_reported_with_their_path() -> None:
    document = {
        "networks": [
            {"name": "a", "cidr": "10.0.0.0/24", "block_mask": 20},
            {"name": "a", "cidr": "10.0.0.5/24"},
            {"name": "b", "cidr": "10.0.0.0/25", "tenants": ["no spaces"]},
            {"cidr": "fd00::/64", "block_mask": 80},
        ],
        "topologies": [
            {
                "networks": ["b", "b", "nowhere"],
                "map": [{"name": 7, "groups": [{"assignment": {"zone": 1}}]}],
            },
            {"networks": ["a"], "map": [{"groups": [{"name": "h", "ip": "::x"}, {"name": "g"}]}]},
            {"networks": []},
        ],
    }
    assert problems(document) == [
        ("networks[0].block_mask", "bad_block_mask"),
        ("networks[1].name", "repeated_name"),
        ("networks[1].cidr", "bad_cidr"),
        ("networks[2].tenants", "bad_tenant"),
        ("networks[3].name", "bad_document"),
        ("networks[3].block_mask", "bad_block_mask"),
        ("networks[2].cidr", "overlap"),
        ("topologies[0].map[0].name", "bad_document"),
        ("topologies[0].map[0].groups[0].assignment", "bad_assignment"),
        ("topologies[0].networks[1]", "repeated_network"),
        ("topologies[0].networks[2]", "no_network"),
        ("topologies[1].map[0].groups[0].ip", "bad_host"),
        ("topologies[1].map[0].groups[1]", "mixed_groups"),
        ("topologies[2].map", "bad_document"),
        ("topologies[2].networks", "bad_document"),
    ]


@pytest.mark.parametrize("document", [None, [], {}, {"networks": {}}, {"networks": [1], "topologies": [[]]}])
def test_invalid_document_is_refused(document: Any) -> None:
    assert {kind for _, kind in problems(document)} == {"bad_document"} | (
        {"bad_cidr"} if document and "topologies" in document else set()
    )


def test_a_document_that_never_ends_is_not_followed() -> None:
    group: dict[str, Any] = {"groups": []}
    for _ in range(5_000):
        group = {"groups": [group]}
    assert problems(topology("10.0.0.0/8", 28, group))[0][1] == "bad_document"


def test_error_message_explains_what_to_do() -> None:
    with pytest.raises(BadTopology) as caught:
        parse(topology("10.0.0.5/24", 28))
    assert str(caught.value) == ("networks[0].cidr: '10.0.0.5/24' has host bits set: write 10.0.0.0/24")


@given(documents().filter(usable))
def test_leaves_never_overlap_and_are_found_by_what_is_in_them(document: dict[str, Any]) -> None:
    tree = parse(document)
    for leaf in tree.leaves:
        assert tree.overlapping(leaf.prefix) == [leaf]
        assert tree.leaf_of(leaf.prefix) is leaf
        network = next(network for network in tree.networks if network.name == leaf.network)
        assert network.prefix.contains(leaf.prefix)
        assert tree.network_of(leaf.prefix) is network
        assert leaf.prefix.length <= network.block_length
    assert tree.leaf_of(parse_prefix("192.0.2.0/24")) is None
    everything = tree.overlapping(parse_prefix("0.0.0.0/0")) + tree.overlapping(parse_prefix("::/0"))
    assert {leaf.number for leaf in everything} == set(range(len(tree.leaves)))
