"""The plan of a topology change: its effect on groups, nodes and addresses."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from romana_bus import events as ev
from romana_bus.ipam.change.evictions import evictions
from romana_bus.ipam.change.merge import merge
from tests.ipam.change.planned import ZONE, apply, changes, cluster, groups, hosts, losing, plan, pods, zones
from tests.ipam.cluster import Cluster, topology
from tests.ipam.documents import NODES, RACKS, TENANTS, documents, usable
from tests.ipam.invariants import blocks_do_not_overlap


def test_group_added_in_the_middle_moves_no_other() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c", pods=2)
    found = plan(c, zones("a", "new", "b", "c"))
    assert groups(found) == [
        ("a", "kept", "10.0.0.0/26", "10.0.0.0/26"),
        ("new", "opened", "", "10.0.0.192/26"),
        ("b", "kept", "10.0.0.64/26", "10.0.0.64/26"),
        ("c", "kept", "10.0.0.128/26", "10.0.0.128/26"),
    ]
    assert hosts(found) == {"n-a": "stays", "n-b": "stays", "n-c": "stays"}
    assert (found.safe, found.addresses_kept, found.blocks, found.growths) == (True, 6, (), ())


def test_a_node_that_waited_for_its_group_gets_a_place() -> None:
    c = cluster(zones("a", "b"), "a", "new")
    found = plan(c, zones("a", "b", "new"))
    assert hosts(found) == {"n-a": "stays", "n-new": "placed"}
    assert found.blocks_opened == 2  # for the pod that waits, and a spare one


def test_a_group_that_is_removed_ends_with_the_addresses_of_its_pods() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c")
    found = plan(c, zones("a", "c"))
    assert groups(found)[-1] == ("b", "ended", "10.0.0.64/26", "")
    assert pods(found.losing) == ["web/b0"]
    assert (found.losing[0].node, found.losing[0].addresses) == ("n-b", ("10.0.0.64",))
    assert hosts(found)["n-b"] == "unplaced"
    assert [one.reason for one in found.hosts if one.kind == "unplaced"] == [
        f"network net needs the label {ZONE}=a or {ZONE}=c"
    ]
    assert [(one.kind, one.block, one.addresses) for one in found.blocks] == [
        ("outside", "10.0.0.64/30", 1),
        ("ended", "10.0.0.68/30", 0),
    ]


def test_an_empty_group_ends_safely() -> None:
    c = cluster(zones("a", "b", "c"), "a", "c")
    assert plan(c, zones("a", "c")).safe


def test_a_pod_that_is_gone_anyway_loses_nothing() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c")
    c.no_pod("web/b0")
    assert plan(c, zones("a", "c")).safe


def test_renamed_and_reordered_groups_do_not_move() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c")
    found = plan(c, zones("z=c", "x=a", "b"))
    assert {(one.group, one.was_group, one.kind) for one in found.groups} == {
        ("z", "c", "kept"),
        ("x", "a", "kept"),
        ("b", "b", "kept"),
    }
    assert set(hosts(found).values()) == {"stays"}
    assert found.safe
    apply(c, zones("z=c", "x=a", "b"))
    assert set(c.addresses().values()) == {"10.0.0.0", "10.0.0.64", "10.0.0.128"}


def test_a_group_with_other_labels_turns_its_nodes_away() -> None:
    c = cluster(zones("a", "b"), "a", "b")
    found = plan(c, zones("a=x", "b"))
    assert [one.group for one in found.groups if one.relabelled] == ["a"]
    assert pods(found.losing) == ["web/a0"]
    assert "does not take node n-a" in found.losing[0].reason


def test_other_labels_that_its_nodes_have_too() -> None:
    c = cluster(zones("a", "b"), "a")
    c.node("n-a", {ZONE: "a", "site": "s"})
    document = topology("10.0.0.0/24", 30, {"name": "a", "assignment": {"site": "s"}}, {"name": "b"})
    assert plan(c, document).safe


def test_full_level_grows_and_the_plan_shows_the_cost() -> None:
    c = cluster(zones(*"abcd"), *"abcd", pods=33)  # in the order of their names: 9 is the last one
    assert "10.0.0.32" in c.addresses().values()
    found = plan(c, zones(*"abcde"))
    assert [(one.group, one.groups, one.was_slots, one.slots) for one in found.growths] == [("", 4, 4, 8)]
    assert groups(found)[0] == ("a", "shrunk", "10.0.0.0/26", "10.0.0.0/27")
    assert pods(found.losing) == [f"web/{name}9" for name in "abcd"]
    assert {one.reason for one in found.losing} == {
        "it would be in group e, which does not take node n-a",
        "no group contains it",
    }
    assert set(hosts(found).values()) == {"stays"}
    assert found.addresses_kept == 4 * 32


def test_a_level_that_grows_costs_nothing_where_the_upper_halves_are_empty() -> None:
    c = cluster(zones(*"abcd"), *"abcd", pods=3)
    before = c.addresses()
    assert plan(c, zones(*"abcde")).safe
    apply(c, zones(*"abcde"))
    assert c.addresses() == before


def test_where_each_node_was_and_would_be() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c", "x", pods=0)
    needs = "network net needs the label " + " or ".join(f"{ZONE}={zone}" for zone in "abx")
    found = plan(c, zones("a", "b", "x"))
    assert [
        (h.node, h.kind, h.group, h.prefix, h.was_group, h.was_prefix, h.reason) for h in found.hosts
    ] == [
        ("n-a", "stays", "a", "10.0.0.0/26", "a", "10.0.0.0/26", ""),
        ("n-b", "stays", "b", "10.0.0.64/26", "b", "10.0.0.64/26", ""),
        ("n-c", "unplaced", "", "", "c", "10.0.0.128/26", needs),
        ("n-x", "placed", "x", "10.0.0.128/26", "", "", ""),
    ]


def test_plan_changes_nothing() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c")
    before = c.rebuilt()
    plan(c, zones("c", "x"))
    assert c.decide() == []
    assert c.rebuilt().state.topology.place == before.state.topology.place
    c.pod("web/more", "n-a")
    before.pod("web/more", "n-a")
    assert c.says() == before.says()


@settings(max_examples=150)
@given(
    st.none() | documents().filter(usable),
    documents().filter(usable),
    st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(0, 11), st.sampled_from(NODES)), max_size=30),
    st.dictionaries(st.sampled_from(NODES), st.sampled_from(["", *RACKS])),
)
def test_addresses_that_the_plan_keeps_are_kept(
    first: dict[str, Any] | None,
    second: dict[str, Any],
    running: list[tuple[str, int, str]],
    labels: dict[str, str],
) -> None:
    c = Cluster(first, default_network="100.64.0.0/25", default_block_mask=30)
    for at, name in enumerate(NODES):
        c.node(name, {"rack": RACKS[at % 2], ZONE: "xyz"[at % 3]})
    for tenant, at, node in running:
        c.pod(f"{tenant}/{at}", node)
    c.decide()
    for name, rack in labels.items():
        c.node(name, {"rack": rack} if rack else {})
    c.decide()
    document = merge(c.state.topology, second)
    if not usable(document):
        return
    found = changes(c.state, document)
    before = c.addresses()
    assert pods(losing(c.state, document)) == pods(found.losing)
    c.send(ev.TopologySet(document=document, evict=evictions(found.losing, ["all"])))
    c.decide()
    blocks_do_not_overlap(c)
    lost = set(pods(found.losing))
    assert {key: text for key, text in before.items() if key not in lost}.items() <= c.addresses().items()
    assert found.addresses_kept + sum(len(one.addresses) for one in found.losing) <= sum(
        len(text.split()) for text in before.values()
    )
    after = {
        (event.node, at.network): at.prefix for event in c.newest(ev.HostPlaced) for at in event.placements
    }
    assert {(one.node, one.network): one.prefix for one in found.hosts if one.prefix} == after
    again = changes(c.state, document)
    assert again.safe
    assert {one.kind for one in again.groups} <= {"kept"}
    assert {one.kind for one in again.hosts} <= {"stays"}
