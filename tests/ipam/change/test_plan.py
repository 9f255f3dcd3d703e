"""What a plan says of another topology, held against what happens when it is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from romana_bus import events as ev
from romana_bus.errors import BadInput
from romana_bus.inet import parse_prefix
from romana_bus.ipam import State, parse
from romana_bus.ipam.change import evictions as pods_that_lose
from romana_bus.ipam.change import plan as plans
from romana_bus.ipam.change.evictions import PodChange, evictions
from romana_bus.ipam.change.merge import merge
from tests.ipam.cluster import Cluster, topology
from tests.ipam.documents import NODES, RACKS, TENANTS, documents, usable
from tests.ipam.invariants import blocks_do_not_overlap, nobody_shares

if TYPE_CHECKING:
    from romana_bus.ipam.change.plan import Changes

ZONE = "topology.kubernetes.io/zone"


def zones(*names: str, cidr: str = "10.0.0.0/24", mask: int = 30) -> dict[str, Any]:
    """`name=zone`, or one name for both."""
    pairs = [name.partition("=") for name in names]
    entries = ({"name": name, "assignment": {ZONE: zone or name}} for name, _, zone in pairs)
    return topology(cidr, mask, *entries)


def cluster(document: dict[str, Any] | None, *names: str, pods: int = 1, **settings: Any) -> Cluster:
    """A node in each zone, with pods on it."""
    c = Cluster(document, **settings)
    for name in names:
        c.node(f"n-{name}", {ZONE: name})
        c.decide()
        for at in range(pods):
            c.pod(f"web/{name}{at}", f"n-{name}")
    c.decide()
    return c


def changes(state: State, document: dict[str, Any]) -> Changes:
    return plans.changes(state, document, parse(document))


def losing(state: State, document: dict[str, Any]) -> tuple[PodChange, ...]:
    return pods_that_lose.losing(state, parse(document))


def plan(c: Cluster, document: dict[str, Any]) -> Changes:
    return changes(c.state, merge(c.state.topology, document))


def apply(c: Cluster, document: dict[str, Any]) -> None:
    c.send(ev.TopologySet(document=merge(c.state.topology, document)))
    c.decide()
    blocks_do_not_overlap(c)
    nobody_shares(c)


def groups(found: Changes) -> list[tuple[str, str, str, str]]:
    return [(one.group, one.kind, one.was_prefix, one.prefix) for one in found.groups]


def hosts(found: Changes) -> dict[str, str]:
    return {one.node: one.kind for one in found.hosts}


def pods(found: tuple[Any, ...]) -> list[str]:
    return [one.pod for one in found]


def test_a_group_in_the_middle_moves_nobody() -> None:
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


def test_names_and_order_move_nobody() -> None:
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


def test_a_level_that_is_full_grows_and_the_plan_says_what_it_costs() -> None:
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


def test_another_network() -> None:
    c = cluster(zones("a"), "a")
    document = zones("a")
    document["networks"].append({"name": "six", "cidr": "fd00::/64"})
    document["topologies"][0]["networks"].append("six")
    found = plan(c, document)
    assert [(one.network, one.kind) for one in found.networks] == [("net", "kept"), ("six", "opened")]
    assert found.safe
    assert [(one.network, one.kind) for one in found.hosts] == [("net", "stays"), ("six", "placed")]


def test_a_network_with_another_name() -> None:
    c = cluster(zones("a", "b"), "a", "b")
    document = zones("b", "a")
    document["networks"][0]["name"] = document["topologies"][0]["networks"][0] = "other"
    found = plan(c, document)
    (network,) = found.networks
    assert (network.kind, network.was_network, network.network) == ("changed", "net", "other")
    assert found.safe
    assert set(hosts(found).values()) == {"stays"}


def test_a_network_with_another_cidr() -> None:
    c = cluster(zones("a", "b"), "a", "b")
    found = plan(c, zones("a", "b", cidr="10.9.0.0/24"))
    assert [one.kind for one in found.groups] == ["moved", "moved"]
    assert pods(found.losing) == ["web/a0", "web/b0"]
    assert set(hosts(found).values()) == {"stays"}
    assert found.blocks_opened >= 2


def test_other_blocks_on_a_live_cluster() -> None:
    """Old ones live on, new ones have the new size, and never do two overlap."""
    c = cluster(zones("a", "b"), "a", "b", pods=3)
    before = c.addresses()
    for mask in (29, 28, 31, 30):
        document = zones("a", "b", mask=mask)
        found = plan(c, document)
        assert (found.safe, found.networks[0].block_mask) == (True, mask)
        apply(c, document)
        assert before.items() <= c.addresses().items()
        known = set(c.blocks())
        for at in range(9):
            c.pod(f"mask{mask}/{at}", "n-a")
        c.decide()
        blocks_do_not_overlap(c)
        fresh = {parse_prefix(text).length for text in set(c.blocks()) - known}
        assert fresh == {mask}


def test_from_the_default_topology_to_the_first_document() -> None:
    c = cluster(None, "z", "a")
    assert sorted(c.addresses().values()) == ["100.64.0.0", "100.72.0.0"]
    keeping = plan(c, zones("a", "z", cidr="100.64.0.0/10", mask=28))
    assert keeping.safe
    assert set(hosts(keeping).values()) == {"stays"}
    elsewhere = plan(c, zones("a", "z"))
    assert pods(elsewhere.losing) == ["web/a0", "web/z0"]
    assert [(one.network, one.kind) for one in elsewhere.networks] == [
        ("net", "opened"),
        ("default", "ended"),
    ]


def test_an_address_that_is_nowhere_already_cannot_be_lost() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c")
    c.send(ev.TopologySet(document=merge(c.state.topology, zones("a", "c"))))
    c.decide()
    found = plan(c, zones("a", "c", mask=29))
    assert found.safe
    assert pods(found.homeless) == ["web/b0"]
    assert [one.already for one in found.blocks if one.kind == "outside"] == [True]
    back = plan(c, zones("a", "b", "c"))
    assert back.homeless == ()
    assert back.addresses_kept == 3


def test_addresses_that_a_node_left_in_another_group_do_not_stand_in_the_way() -> None:
    c = cluster(zones("a", "b", "c"), "a")
    c.node("n-a", {ZONE: "b"})
    c.decide()
    assert plan(c, zones("a", "b", "c", "d")).safe
    assert pods(plan(c, zones("b", "c")).losing) == ["web/a0"]


def test_when_the_topology_in_force_cannot_be_used() -> None:
    c = cluster(zones("a", "b"), "a")
    c.send(ev.TopologySet(document={"networks": []}))
    found = plan(c, zones("a", "b"))
    assert "the topology document cannot be used" in found.problem
    assert found.safe
    assert hosts(found) == {"n-a": "stays"}


def test_of_nothing_at_all() -> None:
    c = Cluster(synced=False)
    found = plan(c, zones("a", "b"))
    assert found.safe
    assert (found.hosts, found.blocks, found.addresses_kept) == ((), (), 0)


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


@pytest.mark.parametrize(("pods", "more"), [(5, ""), (6, " and 1 more"), (7, " and 2 more")])
def test_the_first_few_of_those_who_would_lose_are_named(pods: int, more: str) -> None:
    c = cluster(zones("a", "b"), "b", pods=pods)
    with pytest.raises(BadInput) as caught:
        evictions(losing(c.state, zones("a", "x")), ())
    last = f"web/b4 (10.0.0.{128 + 4} on n-b){more}. `--evict"
    assert last in str(caught.value)


def test_it_changes_nothing() -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c")
    before = c.rebuilt()
    plan(c, zones("c", "x"))
    assert c.decide() == []
    assert c.rebuilt().state.topology.place == before.state.topology.place
    c.pod("web/more", "n-a")
    before.pod("web/more", "n-a")
    assert c.says() == before.says()


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ((), "not set: the address of 6 running pods would have no place in it: web/b0 (10.0.0.64 on n-b), "),
        (("web/b0",), "5 running pods"),
        (("web/b9",), "--evict web/b9: it does not lose its address by this"),
        (("web/a0",), "--evict web/a0: it does not lose its address by this"),
        (("db/*",), "--evict db/*: no running pod of namespace db loses its address by this"),
        (("we/*",), "--evict we/*: "),
        (("b0",), "--evict b0: write NAMESPACE/POD, NAMESPACE/*, or all"),
        (("web/",), "--evict web/: write"),
        (("web/b0/c",), "--evict web/b0/c: write"),
        (("all", "web/x"), "--evict web/x: it does not"),
    ],
)
def test_who_may_lose_an_address_has_to_be_named(asked: tuple[str, ...], reason: str) -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c", pods=6)
    lost = losing(c.state, merge(c.state.topology, zones("a", "c")))
    with pytest.raises(BadInput) as caught:
        evictions(lost, asked)
    assert reason in str(caught.value)
    if not asked:
        assert "web/b4 (10.0.0.68 on n-b) and 1 more" in str(caught.value)


@pytest.mark.parametrize("asked", [("all",), ("web/*",), tuple(f"web/b{at}" for at in (2, 0, 1))])
def test_exactly_those_that_lose_are_evicted(asked: tuple[str, ...]) -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c", pods=3)
    lost = losing(c.state, merge(c.state.topology, zones("a", "c")))
    assert [(one.name, one.node, one.addresses) for one in evictions(lost, asked)] == [
        ("b0", "n-b", ("10.0.0.64",)),
        ("b1", "n-b", ("10.0.0.65",)),
        ("b2", "n-b", ("10.0.0.66",)),
    ]
    assert evictions((), ("all",)) == ()


@settings(max_examples=150)
@given(
    st.none() | documents().filter(usable),
    documents().filter(usable),
    st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(0, 11), st.sampled_from(NODES)), max_size=30),
    st.dictionaries(st.sampled_from(NODES), st.sampled_from(["", *RACKS])),
)
def test_what_is_said_to_be_kept_is_kept(
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
