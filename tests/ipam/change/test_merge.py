"""Merging a document with the topology in force: no prefix moves because of other groups."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings

from romana_bus.ipam import parse
from romana_bus.ipam.change.match import Level, level_in, matched, top, traits_of
from romana_bus.ipam.change.merge import merge
from romana_bus.ipam.topology.networks import Topology
from romana_bus.ipam.topology.slots import positions
from tests.ipam.cluster import Cluster, topology
from tests.ipam.documents import documents, usable
from tests.ipam.topology.test_document import problems

ZONE = "topology.kubernetes.io/zone"


def of(*names: str, cidr: str = "10.0.0.0/16", **more: Any) -> dict[str, Any]:
    """A document with a group for each name; of `a/b`, `b` inside `a`."""
    outer: dict[str, dict[str, Any]] = {}
    for name in names:
        zone, _, rack = name.partition("/")
        group = outer.setdefault(zone, {"name": zone, "groups": []})
        if rack:
            group["groups"].append({"name": rack, "groups": []})
    document = topology(cidr, 28, *outer.values())
    document["topologies"][0] |= more
    return document


def labelled(**groups: str) -> dict[str, Any]:
    """Name -> zone."""
    return topology(
        "10.0.0.0/16", 28, *({"name": name, "assignment": {ZONE: zone}} for name, zone in groups.items())
    )


def prefixes(document: dict[str, Any]) -> dict[str, str]:
    return {leaf.group: str(leaf.prefix) for leaf in parse(document).leaves}


def lived(*lives: dict[str, Any]) -> dict[str, Any]:
    """What is stored when one is applied after the other; and each of them again, which changes nothing."""
    stored: dict[str, Any] = {}
    old = Topology()
    for document in lives:
        stored = merge(old, document)
        old = parse(stored)
        assert merge(old, document) == stored
        assert merge(old, stored) == stored
    return stored


def test_first_topology_has_its_slots_in_order() -> None:
    stored = lived(of("a", "b", "c"))
    assert prefixes(stored) == prefixes(of("a", "b", "c"))
    assert stored["topologies"][0]["slots"] == 4
    assert [group["slot"] for group in stored["topologies"][0]["map"]] == [0, 1, 2]


def test_inserted_group_takes_padding_and_no_other_moves() -> None:
    after = prefixes(lived(of("a", "b", "c"), of("a", "new", "b", "c")))
    assert after == prefixes(of("a", "b", "c")) | {"new": "10.0.192.0/18"}


def test_slot_of_a_removed_group_becomes_padding() -> None:
    before = prefixes(of("a", "b", "c"))
    after = prefixes(lived(of("a", "b", "c"), of("a", "c")))
    assert after == {name: before[name] for name in "ac"}
    again = prefixes(lived(of("a", "b", "c"), of("a", "c"), of("c", "a", "new", "other")))
    assert again == after | {"new": "10.0.64.0/18", "other": "10.0.192.0/18"}


def test_the_order_does_not_matter() -> None:
    assert prefixes(lived(of("a", "b", "c"), of("c", "a", "b"))) == prefixes(of("a", "b", "c"))


def test_a_level_never_shrinks_by_itself_not_even_to_one_group() -> None:
    after = lived(of("a", "b", "c"), of("b"))
    assert prefixes(after) == {"b": "10.0.64.0/18"}
    assert after["topologies"][0]["slots"] == 4


def test_a_full_level_grows_and_every_group_keeps_its_base() -> None:
    assert prefixes(lived(of(*"abcd"), of(*"abcde"))) == {
        "a": "10.0.0.0/19",
        "e": "10.0.32.0/19",
        "b": "10.0.64.0/19",
        "c": "10.0.128.0/19",
        "d": "10.0.192.0/19",
    }


def test_a_map_of_one_group_that_gets_another() -> None:
    assert prefixes(lived(of("all"), of("new", "all"))) == {"all": "10.0.0.0/17", "new": "10.0.128.0/17"}


def test_renamed_group_is_matched_by_its_labels() -> None:
    after = lived(labelled(a="x", b="y", c="z"), labelled(new="w", q="y", a="x", c="z"))
    assert prefixes(after) == prefixes(labelled(a="x", q="y", c="z")) | {"new": "10.0.192.0/18"}


def test_relabelled_group_is_matched_by_its_name() -> None:
    after = lived(labelled(a="x", b="y"), labelled(b="x", a="y"))
    assert prefixes(after) == {"a": "10.0.0.0/17", "b": "10.0.128.0/17"}


def test_group_is_matched_by_its_listed_nodes() -> None:
    def listing(**groups: str) -> dict[str, Any]:
        entries = ({"name": name, "groups": [{"name": node, "ip": "::1"}]} for name, node in groups.items())
        return topology("10.0.0.0/16", 28, *entries)

    after = lived(listing(a="n1", b="n2"), listing(x="n2", y="n1"))
    assert prefixes(after) == {"y": "10.0.0.0/17", "x": "10.0.128.0/17"}


def test_group_with_nothing_in_common_is_matched_by_its_position() -> None:
    after = lived(labelled(a="x", b="y", c="z"), labelled(a="x", other="w", c="z"))
    assert prefixes(after)["other"] == "10.0.64.0/18"


def test_groups_with_one_name_are_matched_by_order() -> None:
    twins = topology("10.0.0.0/16", 28, *({"name": "t", "routing": n} for n in (1, 2)))
    after = parse(lived(twins, topology("10.0.0.0/16", 28, {"name": "t", "routing": 1})))
    assert [(leaf.routing, str(leaf.prefix)) for leaf in after.leaves] == [(1, "10.0.0.0/17")]


def test_levels_within_levels() -> None:
    first = of("a/1", "a/2", "a/3", "b/1", "b/2")
    before = prefixes(first)
    after = prefixes(lived(first, of("b/2", "b/1", "a/1", "a/new", "a/3")))
    assert before["a/2"] == "10.0.32.0/19"
    del before["a/2"]
    assert after == before | {"a/new": "10.0.32.0/19"}
    assert prefixes(lived(first, of("a/1", "a/2", "a/3", "b/1", "b/2", "b/3"))) | {"b/3": ""} == prefixes(
        first
    ) | {"b/1": "10.0.128.0/19", "b/2": "10.0.192.0/19", "b/3": ""}


def test_a_leaf_that_is_split_and_groups_that_become_a_leaf_again() -> None:
    assert prefixes(lived(of("a", "b"), of("a/1", "a/2", "b")))["a/2"] == "10.0.64.0/18"
    assert prefixes(lived(of("a", "b"), of("a/1", "a/2", "b"), of("a", "b"))) == prefixes(of("a", "b"))


def test_slots_of_the_document_override_earlier_ones() -> None:
    request = of("a", "b", slots=8)
    request["topologies"][0]["map"][1]["slot"] = 6
    assert prefixes(lived(of("a", "b"), request)) == {"a": "10.0.0.0/19", "b": "10.0.192.0/19"}
    taken = of("a", "b")
    taken["topologies"][0]["map"][1]["slot"] = 0
    assert prefixes(lived(of("a", "b"), taken)) == {"b": "10.0.0.0/17", "a": "10.0.128.0/17"}


def test_putting_an_older_document_back_puts_everything_back() -> None:
    first = lived(of("a", "b", "c"))
    assert lived(first, of("c", "new", "a"), first) == first


def test_a_network_with_another_cidr_keeps_its_slots() -> None:
    after = prefixes(lived(of("a", "b", "c"), of("c", "b", cidr="10.9.0.0/16")))
    assert after == {"b": "10.9.64.0/18", "c": "10.9.128.0/18"}


def test_a_renamed_network_is_known_by_its_cidr() -> None:
    renamed = of("c", "b", networks=["other"])
    renamed["networks"][0]["name"] = "other"
    assert prefixes(lived(of("a", "b", "c"), renamed)) == {"b": "10.0.64.0/18", "c": "10.0.128.0/18"}


def test_a_network_of_which_nothing_is_known_is_split_by_order() -> None:
    other = of("c", "b", networks=["other"], cidr="10.9.0.0/16")
    other["networks"][0]["name"] = "other"
    assert prefixes(lived(of("a", "b", "c"), other)) == prefixes(other)


def test_a_network_that_joins_a_map_is_split_like_the_others() -> None:
    joined = of("c", "new", "b", networks=["six", "net"])
    joined["networks"].insert(0, {"name": "six", "cidr": "fd00::/48"})
    after = parse(lived(of("a", "b", "c"), joined))
    assert [(leaf.network, leaf.group, str(leaf.prefix)) for leaf in after.leaves] == [
        ("six", "new", "fd00::/50"),
        ("six", "b", "fd00:0:0:4000::/50"),
        ("six", "c", "fd00:0:0:8000::/50"),
        ("net", "new", "10.0.0.0/18"),
        ("net", "b", "10.0.64.0/18"),
        ("net", "c", "10.0.128.0/18"),
    ]


def test_the_groups_of_the_default_topology_keep_their_slots() -> None:
    c = Cluster()
    for at, zone in enumerate(("z", "a", "m")):
        c.node(f"n{at}", {ZONE: zone})
        c.decide()
    opened = {leaf.group: str(leaf.prefix) for leaf in c.state.topology.leaves}
    entries = [{"name": f"zone-{zone}", "assignment": {ZONE: zone}} for zone in "abmz"]
    after = prefixes(merge(c.state.topology, topology("100.64.0.0/10", 28, *entries)))
    assert after == {f"zone-{zone}": prefix for zone, prefix in opened.items()} | {"zone-b": "100.88.0.0/13"}


def test_merge_does_not_change_the_given_document() -> None:
    document = of("a", "b/1", "b/2")
    document["comment"] = {"kept": [1]}
    written = repr(document)
    assert merge(Topology(), document)["comment"] == {"kept": [1]}
    assert repr(document) == written


@pytest.mark.parametrize(
    ("slots", "of_groups", "wrong"),
    [
        (3, [None, None], [("slots", "bad_slots")]),
        (0, [None, None], [("slots", "bad_slots")]),
        (True, [None, None], [("slots", "bad_slots")]),
        ("4", [None, None], [("slots", "bad_slots")]),
        (1 << 60, [None, None], [("slots", "bad_slots")]),
        (2, [None, None, None], [("slots", "bad_slots")]),
        (4, [1, None, 1], [("map[2].slot", "bad_slot")]),
        (4, [4, None], [("map[0].slot", "bad_slot")]),
        (4, [-1, True, 1.5, "2"], [(f"map[{at}].slot", "bad_slot") for at in range(4)]),
        (None, [0, 2], [("map[1].slot", "bad_slot")]),
        (None, [1], [("map[0].slot", "bad_slot")]),
        (3, [9, 9], [("slots", "bad_slots"), ("map[1].slot", "bad_slot")]),
        (4, [3, None, 0, None], []),
        (None, [1, 0], []),
        (None, [0], []),
        (1, [0], []),
        (8, [7], []),
    ],
)
def test_invalid_slots(slots: Any, of_groups: list[Any], wrong: list[tuple[str, str]]) -> None:
    document = topology("10.0.0.0/16", 28, *({"slot": slot} for slot in of_groups))
    inside = topology("10.0.0.0/16", 28, {"groups": [{"slot": slot} for slot in of_groups], "slots": slots})
    document["topologies"][0]["slots"] = slots
    if not wrong:
        parse(document), parse(inside)
        return
    assert sorted(problems(document)) == sorted((f"topologies[0].{place}", kind) for place, kind in wrong)
    assert sorted(problems(inside)) == sorted(
        (f"topologies[0].map[0].{place.replace('map', 'groups')}", kind) for place, kind in wrong
    )


def test_those_without_a_slot_take_what_is_left() -> None:
    document = of(*"abcd", slots=8)
    document["topologies"][0]["map"][1]["slot"] = 0
    document["topologies"][0]["map"][3]["slot"] = 2
    assert prefixes(document) == {
        "b": "10.0.0.0/19",
        "a": "10.0.32.0/19",
        "d": "10.0.64.0/19",
        "c": "10.0.96.0/19",
    }


def test_of_two_that_ask_for_one_slot_the_first_has_it() -> None:
    """Such a document is refused, with what is wrong in it, and where the others would be."""
    assert positions(4, [2, 2, -1, 0]) == [2, 1, 3, 0]


def test_a_leaf_has_no_slots() -> None:
    assert problems(topology("10.0.0.0/16", 28, {"name": "a", "slots": 4})) == [
        ("topologies[0].map[0].slots", "bad_slots")
    ]


def test_a_short_document_cannot_ask_for_more_prefixes_than_a_machine_holds() -> None:
    group: dict[str, Any] = {"groups": [{}], "slots": 65536}
    assert problems(topology("fd00::/8", 126, *[group] * 100)) == [
        ("topologies[0].map", "too_many_groups"),
    ]
    assert problems(topology("10.0.0.0/28", 32, group))[0][1] == "too_many_groups"


@settings(max_examples=300)
@given(documents().filter(usable), documents().filter(usable))
def test_matched_group_keeps_its_prefix_unless_the_level_grew(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    old = parse(stored := merge(Topology(), first))
    assert prefixes(stored) == prefixes(first)
    after = merge(old, second)
    if not usable(after):
        return  # a level that grew has no room for a block
    new = parse(after)
    assert merge(new, after) == merge(new, second) == after
    for network in new.networks:
        before = next((one for one in old.networks if one.name == network.name), None)
        if before and before.tree and network.tree:
            keeps(top(before.tree), top(network.tree), before.prefix == network.prefix)


def keeps(was: Level, now: Level, fixed: bool) -> None:
    """`fixed`: what is split is the same prefix. A group within one that shrank may have another one."""
    if not now.groups:
        return
    assert now.slots >= was.slots
    grown = now.slots > was.slots
    assert not (was.groups and grown) or len(now.groups) > was.slots, "it grew without need"
    found = matched([traits_of(one) for one in was.groups], [traits_of(one) for one in now.groups])
    for at, group, slot in zip(found, now.groups, now.slot, strict=True):
        if at >= 0:
            before = was.groups[at]
            assert slot == was.slot[at] * now.slots // was.slots
            assert not fixed or group.prefix.base == before.prefix.base
            assert not fixed or grown or group.prefix == before.prefix
            keeps(level_in(before), level_in(group), fixed and group.prefix == before.prefix)
