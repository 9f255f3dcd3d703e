"""The defects of Romana's address management (B1 to B16), each of them impossible here: in the core, and
where it says more, as operations of `ipam simulate`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from romana_bus.inet import parse_prefix
from romana_bus.ipam import BadTopology, parse
from romana_bus.ipam.change.reserve import BadRange, reserve
from romana_bus.ipam.model.blocks import Block, Chain
from romana_bus.ipam.report import views
from tests.ipam.cluster import Cluster, topology
from tests.ipam.simulate.operations import ask, change, give, hosts, join, leave, open_, shut

if TYPE_CHECKING:
    from tests.ipam.conftest import Play


def cluster(cidr: str = "10.0.0.0/24", block_mask: int = 30, *groups: Any, **settings: Any) -> Cluster:
    """As Romana was: a block for each host, tenant and segment, no spare ones, no cooldown."""
    settings = {"block_owner": "segment", "warm_blocks": 0, "cooldown": 0, **settings}
    c = Cluster(topology(cidr, block_mask, *groups), **settings)
    c.node("n1")
    c.node("n2")
    c.decide()
    return c


def test_b1_padding_takes_no_hosts() -> None:
    """Three zones: the fourth quarter is left over, and stays so however many nodes come."""
    zones = [
        {"name": z, "assignment": {"zone": z}, "groups": [{"name": f"{z}{n}"} for n in range(3)]}
        for z in "abc"
    ]
    c = Cluster(topology("10.0.0.0/16", 28, *zones))
    for at in range(30):
        c.node(f"n{at:02}", {"zone": "abc"[at % 3]})
    c.node("unlabelled")
    c.decide()
    (network,) = views.networks(c.state)
    closed = [group for group in network.groups if group.closed]
    assert [group.prefix for group in closed] == [
        "10.0.48.0/20",
        "10.0.112.0/20",
        "10.0.176.0/20",
        "10.0.192.0/18",
    ]
    assert all((group.hosts, group.usage.blocks) == (0, 0) for group in closed)
    assert "unlabelled" not in {host.node for host in c.newest(ev.HostPlaced)}


def test_b1_groups_without_labels_keep_hosts_out_of_padding_too(play: Play) -> None:
    """There, padding asks for nothing either, and has always the fewest."""
    groups = [{"name": name} for name in "abc"]
    played = play(topology("10.0.0.0/16", 28, *groups), [join(f"n{at}", f"192.0.2.{at}") for at in range(9)])
    assert [group["hosts"] for group in played.end["tree"]["net"]["groups"]] == [
        ["n0", "n3", "n6"], ["n1", "n4", "n7"], ["n2", "n5", "n8"], [],
    ]  # fmt: skip


def test_b2_no_address_is_lost_when_lower_ones_come_back() -> None:
    c = cluster("10.0.0.0/29", 29)
    for at in range(8):
        c.pod(f"web/{at}", "n1")
    c.decide()
    for at in (5, 6, 2, 0):
        c.no_pod(f"web/{at}")
        c.decide()
    for at in range(10, 14):
        c.pod(f"web/{at}", "n1")
    c.decide()
    assert sorted(c.addresses().values()) == [f"10.0.0.{at}" for at in range(8)]


def test_b2_empty_block_has_no_owner(play: Play) -> None:
    """In Romana's order: 5, 6, 2, 0, and then the others."""
    ops = [ask(str(at)) for at in range(8)] + [give(str(at)) for at in (5, 6, 2, 0)]
    one = topology("10.0.0.0/29", 29, hosts("n1", "n2"))
    played = play(one, [*ops, *(ask(f"again{at}") for at in range(5))])
    assert played.short[12:] == ["10.0.0.0", "10.0.0.2", "10.0.0.5", "10.0.0.6", "exhausted"]
    played = play(one, [*ops, *(give(str(at)) for at in (1, 3, 4, 7)), ask("new", "n2", "db")])
    assert played.short[-1] == "10.0.0.0"


def test_b2_reserved_addresses_do_not_lose_others(play: Play) -> None:
    """Romana takes those from the pool as well, and puts them back."""
    ops = [shut("10.0.0.1/32"), shut("10.0.0.4/31"), *(ask(str(at)) for at in range(6)), give("4"), give("0")]
    ops += [open_("10.0.0.4/31"), open_("10.0.0.1/32"), *(ask(f"again{at}") for at in range(6))]
    played = play(topology("10.0.0.0/29", 29, hosts("n1")), ops)
    assert played.short[-6:] == ["10.0.0.0", "10.0.0.1", "10.0.0.4", "10.0.0.5", "10.0.0.7", "exhausted"]


def test_b3_a_block_has_one_owner_also_after_its_host_went() -> None:
    c = cluster()
    c.pod("web/a", "n1")
    c.decide()
    c.no_node("n1")
    c.no_pod("web/a")
    c.decide()
    c.node("n1")
    c.pod("db/a", "n1")
    c.decide()
    c.pod("web/b", "n1")
    c.decide()
    assert c.addresses() == {"db/a": "10.0.0.0", "web/b": "10.0.0.4"}


def test_b3_no_block_has_two_tenants(play: Play) -> None:
    ops = [ask("a"), ask("b"), leave("n1"), join("n1"), ask("c", tenant="db"), ask("d")]
    played = play(topology("10.0.0.0/24", 30, hosts("n1")), ops)
    assert played.short[4:] == ["10.0.0.0", "10.0.0.4"]
    assert [(one["cidr"], one["tenant"]) for one in played.end["blocks"]["net"]] == [
        ("10.0.0.0/30", "db"),
        ("10.0.0.4/30", "web"),
    ]


def test_b4_a_name_is_free_again_when_its_host_went() -> None:
    c = cluster()
    c.pod("web/a", "n1")
    c.decide()
    c.no_node("n1")
    c.decide()
    c.pod("web/a", "n2", uid="2")
    assert c.says() == [
        "web/a on n1: released, the pod is on node n2 now",
        "10.0.0.0/30 from n1",
        "n1 is removed",
        "10.0.0.0/30 to n2 for web -",
        "web/a on n2: 10.0.0.0",
    ]


def test_b4_names_go_with_their_host(play: Play) -> None:
    ops = [ask("a"), ask("b", "n2"), leave("n1"), give("a"), give("10.0.0.0"), ask("a", "n2"), give("a")]
    played = play(topology("10.0.0.0/24", 30, hosts("n1", "n2")), ops)
    assert played.short[2:] == [True, "not_found", "not_found", "10.0.0.5", True]
    assert played.end["addresses"] == {"b": "10.0.0.4"}


def test_b5_hosts_and_addresses_outlive_a_new_topology() -> None:
    c = cluster()
    c.pod("web/a", "n1")
    c.decide()
    c.send(ev.TopologySet(document=topology("10.0.0.0/23", 29)))
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0"}
    assert [host.node for host in c.newest(ev.HostPlaced)] == ["n1", "n2"]


def test_b5_hosts_that_joined_by_themselves_too(play: Play) -> None:
    """In Romana they had to be listed in the document."""
    ops = [join("n1"), join("n2"), ask("a"), ask("b", "n2"), change(topology("10.0.0.0/23", 30)), ask("c")]
    played = play(topology("10.0.0.0/24", 30), ops)
    assert played.short[4:] == [True, "10.0.0.1"]
    assert played.end["tree"]["net"]["hosts"] == ["n1", "n2"]
    assert played.end["addresses"] == {"a": "10.0.0.0", "b": "10.0.0.4", "c": "10.0.0.1"}


def test_b5_a_topology_that_is_refused_leaves_everything_as_it_is(play: Play) -> None:
    ops = [join("n1"), ask("a"), shut("10.0.0.8/32")]
    before = play(topology("10.0.0.0/24", 30), ops).end
    after = play(topology("10.0.0.0/24", 30), [*ops, change(topology("10.9.0.0/24", 30)), change({})])
    assert after.short[3:] == ["no_network", "bad_document"]
    assert after.end == before


def test_b6_nested_groups_keep_their_names() -> None:
    inner = {"name": "inner", "groups": [{"name": "leaf"}]}
    tree = parse(topology("10.0.0.0/16", 28, {"name": "outer", "groups": [inner]}))
    assert tree.leaves[0].group == "outer/inner/leaf"


def test_b6_nested_groups_keep_their_names_in_the_tree(play: Play) -> None:
    inner = {"name": "inner", "groups": [{"name": "leaf"}]}
    tree = play(topology("10.0.0.0/16", 28, {"name": "outer", "groups": [inner]}), []).end["tree"]["net"]
    assert (tree["name"], tree["groups"][0]["name"], tree["groups"][0]["groups"][0]["name"]) == (
        "outer", "inner", "leaf",
    )  # fmt: skip


def test_b7_a_block_counts_its_addresses_right_when_the_lowest_is_free() -> None:
    c = cluster("10.0.0.0/29", 29)
    for at in range(3):
        c.pod(f"web/{at}", "n1")
    c.decide()
    c.no_pod("web/0")
    c.decide()
    (block,) = views.blocks(c.state)
    assert (block.usage.used, block.usage.free) == (2, 6)


def test_b7_counts_at_the_end(play: Play) -> None:
    played = play(topology("10.0.0.0/29", 29, hosts("n1")), [ask("a"), ask("b"), ask("c"), give("a")])
    assert [block["allocated_ip_count"] for block in played.end["blocks"]["net"]] == [2]


def test_b8_everything_that_happens_to_a_block_is_published() -> None:
    c = cluster()
    c.pod("web/a", "n1")
    c.decide()
    c.no_pod("web/a")
    c.no_node("n1")
    released = [d.event for d in c.decide() if isinstance(d.event, ev.BlockReleased)]
    assert [event.block for event in released] == ["10.0.0.0/30"]


def test_b8_block_events_are_published_under_a_new_topology() -> None:
    """A host that is placed elsewhere, and its spare block."""
    c = cluster(warm_blocks=1)
    c.send(ev.TopologySet(document=topology("10.1.0.0/24", 30)))
    assert c.says() == [
        "10.0.0.0/30 from n1",
        "n1 is in net all 10.1.0.0/24",
        "10.0.0.4/30 from n2",
        "n2 is in net all 10.1.0.0/24",
        "10.1.0.0/30 to n1",
        "10.1.0.4/30 to n2",
    ]


def test_b9_a_block_that_does_not_fit_into_its_group_is_refused() -> None:
    four = [{"name": name} for name in "abcd"]
    with pytest.raises(BadTopology) as caught:
        parse(topology("10.0.0.0/28", 29, *four))
    assert {problem.kind for problem in caught.value.problems} == {"block_larger_than_group"}
    assert (
        caught.value.reasons[0]
        == "networks[0].block_mask: blocks of /29 do not fit into group 'a', 10.0.0.0/30, nor into 3 others"
    )


def test_b9_no_address_is_given_twice_at_a_groups_end(play: Play) -> None:
    """With blocks as large as the groups: Romana looked at the network's end instead."""
    ops = [join("n1"), join("n2"), *(ask(f"{host}-{at}", host) for at in range(5) for host in ("n1", "n2"))]
    played = play(topology("10.0.0.0/29", 30, {"name": "a"}, {"name": "b"}), ops)
    given = [one for one in played.short[2:] if one != "exhausted"]
    assert sorted(given) == [f"10.0.0.{at}" for at in range(8)]
    assert played.short[-2:] == ["exhausted", "exhausted"]


def test_b10_network_without_a_map_is_no_error() -> None:
    document = topology()
    document["networks"].insert(0, {"name": "bare", "cidr": "10.9.0.0/24"})
    c = Cluster(document)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0"}
    assert views.networks(c.state)[0].groups == ()
    assert reserve(c.state, "10.9.0.0/30") == [ev.RangeReserved(cidr="10.9.0.0/30")]
    c.no_node("n1")
    c.decide()


def test_b11_ipv6() -> None:
    c = cluster("fd00::/64", 122, {"name": "a"}, {"name": "b"})
    c.pod("web/a", "n1")
    c.pod("web/b", "n2")
    c.decide()
    assert c.addresses() == {"web/a": "fd00::", "web/b": "fd00::8000:0:0:0"}


def test_b12_an_address_asked_for_by_name_makes_its_block_its_owners() -> None:
    c = cluster()
    c.pod("web/a", "n1")
    c.decide()
    c.no_pod("web/a")
    c.decide()
    c.pod("db/a", "n2", ips=("10.0.0.2",))
    assert c.says() == ["10.0.0.0/30 to n2 for db -", "db/a on n2: 10.0.0.2"]
    c.pod("web/b", "n1")
    assert c.says() == ["10.0.0.4/30 to n1 for web -", "web/b on n1: 10.0.0.4"]


def test_b12_an_address_that_is_kept_under_a_new_topology_keeps_its_block(play: Play) -> None:
    """The later blocks first: then the earlier ones are taken out of what was given back."""
    ops = [ask("c"), ask("b", tenant="db"), ask("a", tenant="x"), give("c"), ask("d", tenant="y"), give("b")]
    one = topology("10.0.0.0/24", 30, hosts("n1"))
    played = play(one, [*ops, change(one), ask("e", tenant="z"), ask("f", tenant="w"), ask("g", tenant="y")])
    assert played.short[6:] == [True, "10.0.0.4", "10.0.0.12", "10.0.0.1"]


def test_b13_a_cidr_with_host_bits_is_refused() -> None:
    with pytest.raises(BadTopology) as caught:
        parse(topology("10.0.0.5/24", 30))
    assert [problem.kind for problem in caught.value.problems] == ["bad_cidr"]


def test_b14_an_attempt_that_fails_changes_nothing() -> None:
    c = cluster("10.0.0.0/31", 31)
    for at in range(3):
        c.pod(f"web/{at}", "n1")
    c.decide()
    before = dict(c.table)
    c.later(1)
    assert c.decide() == []
    assert c.table == before


def test_b14_failing_operations_leave_no_trace(play: Play) -> None:
    one = topology("10.0.0.0/31", 31, hosts("n1"))
    ops = [ask("a"), ask("b")]
    failing = [ask("c"), ask("c", tenant="db"), ask("a"), give("c"), join("n1"), leave("n2")]
    failing += [shut("10.0.0.0/32"), open_("10.0.0.0/32")]
    played = play(one, [*ops, *failing])
    assert all(not line["ok"] for line in played.results[2:])
    assert played.end == play(one, ops).end


def test_b15_search_for_a_free_address_skips_full_blocks() -> None:
    looked_at = 0

    class Watched(list[Block]):
        def __getitem__(self, at: Any) -> Any:
            nonlocal looked_at
            looked_at += 1
            return super().__getitem__(at)

    chain = Chain()
    for at in range(1_000):
        block = Block(str(at), parse_prefix(f"10.0.{at // 256}.{at % 256}/32"), 1, since=at)
        block.busy = at < 999
        chain.add(block)
    chain.blocks = Watched(chain.blocks)
    for _ in range(1_000):
        chain.first()
    assert looked_at < 10_000


def test_b16_a_range_with_one_address_in_use_is_in_use() -> None:
    """A part of one run of addresses too."""
    c = cluster("10.0.0.0/24", 28)
    for at in range(6):
        c.pod(f"web/{at}", "n1")
    c.decide()
    with pytest.raises(BadRange) as caught:
        reserve(c.state, "10.0.0.2/31")
    assert caught.value.kind == "in_use"
    assert str(caught.value).endswith("in use: 10.0.0.2 (web/2), 10.0.0.3 (web/3)")
