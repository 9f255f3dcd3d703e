"""`ipam simulate` on cases of our own: one for each of Romana's rules that a user would notice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.ipam.cluster import topology
from tests.ipam.simulate.operations import ask, change, give, hosts, join, label, leave, open_, shut

if TYPE_CHECKING:
    from tests.ipam.conftest import Play


def block(cidr: str, host: str, tenant: str, segment: str, count: int) -> dict[str, Any]:
    return {"cidr": cidr, "host": host, "tenant": tenant, "segment": segment, "allocated_ip_count": count}


ONE = topology("10.0.0.0/24", 30, hosts("n1", "n2"))
TINY = topology("10.0.0.0/31", 31, hosts("n1"))


# --- addresses ---


def test_a_block_is_one_hosts_one_tenants_and_one_segments(play: Play) -> None:
    told = play(ONE, [ask("a"), ask("b", tenant="db"), ask("c", segment="x"), ask("d", "n2"), ask("e")])
    assert told.short == ["10.0.0.0", "10.0.0.4", "10.0.0.8", "10.0.0.12", "10.0.0.1"]
    assert told.end["blocks"]["net"] == [
        block("10.0.0.0/30", "n1", "web", "", 2),
        block("10.0.0.4/30", "n1", "db", "", 1),
        block("10.0.0.8/30", "n1", "web", "x", 1),
        block("10.0.0.12/30", "n2", "web", "", 1),
    ]


@pytest.mark.parametrize(
    ("owner", "addresses"),
    [
        ("host", ["10.0.0.0", "10.0.0.1", "10.0.0.2"]),
        ("tenant", ["10.0.0.0", "10.0.0.4", "10.0.0.1"]),
        ("segment", ["10.0.0.0", "10.0.0.4", "10.0.0.8"]),
    ],
)
def test_whose_blocks_are(owner: str, addresses: list[str], play: Play) -> None:
    ops = [ask("a"), ask("b", tenant="db"), ask("c", segment="x")]
    assert play(ONE, ops, "--block-owner", owner).short == addresses


def test_the_lowest_free_address_first_and_the_block_that_came_back_first(play: Play) -> None:
    """An empty block is anybody's, in the order in which blocks became empty, before a new one is made."""
    ops = [ask(name, tenant=name) for name in "abc"] + [give("c"), give("a")]
    ops += [ask("d", "n2"), ask("e", "n2", "db"), ask("f", "n2", "x"), ask("g", "n2")]
    told = play(ONE, ops)
    assert told.short[5:] == ["10.0.0.8", "10.0.0.0", "10.0.0.12", "10.0.0.9"]
    assert [found["cidr"] for found in told.end["blocks"]["net"]] == [
        "10.0.0.0/30",
        "10.0.0.4/30",
        "10.0.0.8/30",
        "10.0.0.12/30",
    ]


def test_an_empty_block_is_nobodys_and_still_there(play: Play) -> None:
    told = play(ONE, [ask("a"), give("a")])
    assert told.end["blocks"] == {"net": [block("10.0.0.0/30", "", "", "", 0)]}
    assert told.end["addresses"] == {}


def test_blocks_come_back_in_order_also_hours_later(play: Play) -> None:
    """An operation takes a second; a live cluster remembers the order of releases for an hour."""
    ops = [ask("a"), ask("b", tenant="db"), give("b"), give("a")]
    told = play(ONE, [*ops, *[shut("10.0.0.240/32")] * 4_000, ask("c")])
    assert told.short[-1] == "10.0.0.4"


def test_by_name_or_by_address(play: Play) -> None:
    ops = [ask("a"), ask("b"), give("10.0.0.0"), give("b"), give("b"), give("10.0.0.0"), give("10.0.0.x")]
    assert play(ONE, ops).short[2:] == [True, True, "not_found", "not_found", "not_found"]


def test_a_name_that_is_an_address_is_a_name_first(play: Play) -> None:
    told = play(ONE, [ask("a"), ask("10.0.0.0"), give("10.0.0.0")])
    assert told.end["addresses"] == {"a": "10.0.0.0"}


def test_when_nothing_is_left_and_when_there_is_again(play: Play) -> None:
    ops = [ask("a"), ask("b"), ask("c"), ask("d", tenant="db"), give("a"), ask("d", tenant="db"), ask("c")]
    told = play(TINY, ops)
    assert told.short == ["10.0.0.0", "10.0.0.1", "exhausted", "exhausted", True, "exhausted", "10.0.0.0"]
    assert "full" in told.results[2]["message"]


def test_a_name_is_given_once(play: Play) -> None:
    told = play(ONE, [ask("a"), ask("a", "n2", "db"), give("a"), ask("a", "n2", "db")])
    assert told.short == ["10.0.0.0", "exists", True, "10.0.0.0"]
    assert told.results[1]["message"] == "a has an address already: 10.0.0.0"


def test_blocks_of_one_address(play: Play) -> None:
    told = play(topology("10.0.0.0/30", 32, hosts("n1")), [ask("a"), ask("b"), give("a"), ask("c"), ask("d")])
    assert told.short == ["10.0.0.0", "10.0.0.1", True, "10.0.0.0", "10.0.0.2"]


def test_without_a_block_mask_blocks_have_eight_addresses(play: Play) -> None:
    document = topology("10.0.0.0/24", 0, hosts("n1"))
    assert play(document, [ask("a"), ask("b", tenant="db")]).short == ["10.0.0.0", "10.0.0.8"]
    document = topology("10.0.0.0/31", 0, hosts("n1"))
    assert play(document, [ask("a"), ask("b", tenant="db")]).short == ["10.0.0.0", "exhausted"]


def test_a_cooldown_and_spare_blocks_are_as_asked_for(play: Play) -> None:
    """An operation takes a second."""
    ops = [ask("a"), give("a"), ask("b"), give("b"), ask("c"), ask("d")]
    assert play(ONE, ops, "--cooldown", "3").short[2:] == ["10.0.0.1", True, "10.0.0.0", "10.0.0.2"]
    blocks = play(ONE, [ask("a")], "--warm-blocks", "1").end["blocks"]["net"]
    assert [(one["cidr"], one["host"], one["tenant"]) for one in blocks] == [
        ("10.0.0.0/30", "n1", "*"),
        ("10.0.0.4/30", "n2", "*"),
        ("10.0.0.8/30", "n1", "*"),
    ]


# --- networks and tenants ---


def networks(*raw: dict[str, Any]) -> dict[str, Any]:
    names = [one["name"] for one in raw]
    return {"networks": list(raw), "topologies": [{"networks": names, "map": [hosts("n1")]}]}


def test_networks_that_name_a_tenant_come_first_and_those_for_everyone_after(play: Play) -> None:
    document = networks(
        {"name": "all", "cidr": "10.0.0.0/24", "block_mask": 30},
        {"name": "web", "cidr": "10.1.0.0/31", "block_mask": 31, "tenants": ["web"]},
        {"name": "both", "cidr": "10.2.0.0/31", "block_mask": 31, "tenants": ["web", "db"]},
    )
    ops = [ask(str(at)) for at in range(5)] + [ask("d", tenant="db"), ask("x", tenant="x")]
    assert play(document, ops).short == [
        "10.1.0.0", "10.1.0.1", "10.2.0.0", "10.2.0.1", "10.0.0.0", "10.0.0.4", "10.0.0.8",
    ]  # fmt: skip


def test_a_tenant_without_a_network_and_a_host_that_is_not_there(play: Play) -> None:
    """Romana does not tell a host that it does not know from a full one; the message does."""
    document = networks({"name": "web", "cidr": "10.1.0.0/24", "tenants": ["web"]})
    told = play(document, [ask("a", tenant="db"), ask("a", "nope", "db"), ask("a", "nope"), ask("a")])
    assert told.short == ["no_network", "no_network", "exhausted", "10.1.0.0"]
    assert told.results[2]["message"] == "there is no host nope"


def test_a_host_has_what_its_own_networks_have(play: Play) -> None:
    document = {
        "networks": [{"name": "a", "cidr": "10.0.0.0/24"}, {"name": "b", "cidr": "10.1.0.0/24"}],
        "topologies": [
            {"networks": ["a"], "map": [{"groups": [{"name": "n1", "ip": "192.0.2.1"}]}]},
            {"networks": ["b"], "map": [{"groups": [{"name": "n2", "ip": "192.0.2.2"}]}]},
        ],
    }
    assert play(document, [ask("a", "n1"), ask("b", "n2")]).short == ["10.0.0.0", "10.1.0.0"]


def test_a_network_without_a_map_has_no_tree_and_no_blocks(play: Play) -> None:
    document = topology()
    document["networks"].append({"name": "bare", "cidr": "10.9.0.0/24"})
    told = play(document, [join("n1"), shut("10.9.0.0/30"), leave("n1")])
    assert told.short == [True, True, True]
    assert set(told.end["tree"]) == set(told.end["blocks"]) == {"net"}


def test_two_families_all_or_nothing(play: Play) -> None:
    document = networks(
        {"name": "four", "cidr": "10.0.0.0/30", "block_mask": 31},
        {"name": "six", "cidr": "fd00::/127", "block_mask": 127},
    )
    told = play(document, [ask("a"), ask("b"), ask("c"), give("fd00::"), ask("c")])
    both = [["10.0.0.0", "fd00::"], ["10.0.0.1", "fd00::1"]]
    assert told.short == [*both, "exhausted", True, both[0]]
    assert told.end["addresses"] == {"b": both[1], "c": both[0]}
    assert told.end["blocks"]["four"] == [block("10.0.0.0/31", "n1", "web", "", 2)]


def test_ipv6_alone(play: Play) -> None:
    document = topology("fd00::/48", 128, {"name": "a"}, {"name": "b"}, {"name": "c"})
    told = play(document, [join("n1", "fe80::1"), join("n2", "fe80::2"), ask("a"), ask("b", "n2"), ask("c")])
    assert told.short[2:] == ["fd00::", "fd00:0:0:4000::", "fd00::1"]
    assert [group["cidr"] for group in told.end["tree"]["net"]["groups"]] == [
        "fd00::/50", "fd00:0:0:4000::/50", "fd00:0:0:8000::/50", "fd00:0:0:c000::/50",
    ]  # fmt: skip
    assert play(document, [join("n1"), ask("a"), give("FD00:0::0")]).short[2] is True


# --- hosts ---

RACKS = [{"name": rack, "assignment": {"rack": rack}, "groups": []} for rack in "abc"]


def test_the_tree_as_it_is_written_with_padding(play: Play) -> None:
    inner = {
        "name": "outer",
        "routing": "r",
        "groups": [{"name": "x"}, {"name": "y", "assignment": {"k": "v"}}],
    }
    told = play(topology("10.0.0.0/16", 28, inner, *RACKS[:2]), [join("n1", k="v"), join("n2")])
    assert told.end["tree"]["net"] == {
        "cidr": "",
        "name": "/",
        "groups": [
            {
                "cidr": "10.0.0.0/18",
                "name": "outer",
                "routing": "r",
                "groups": [
                    {"cidr": "10.0.0.0/19", "name": "x", "hosts": ["n1", "n2"]},
                    {"cidr": "10.0.32.0/19", "name": "y", "assignment": {"k": "v"}, "hosts": []},
                ],
            },
            {"cidr": "10.0.64.0/18", "name": "a", "assignment": {"rack": "a"}, "hosts": []},
            {"cidr": "10.0.128.0/18", "name": "b", "assignment": {"rack": "b"}, "hosts": []},
            {"cidr": "10.0.192.0/18", "hosts": []},
        ],
    }


def test_the_group_with_the_fewest_hosts_that_takes_it(play: Play) -> None:
    """Those in padding would always have the fewest."""
    ops = [
        *(join(f"n{at}", f"192.0.2.{at + 1}", rack="ab"[at % 2]) for at in range(11)),
        join("n11", rack="x"),
    ]
    told = play(topology("10.0.0.0/16", 28, *RACKS, *RACKS), ops)
    assert told.short == [True] * 11 + ["no_group"]
    groups = told.end["tree"]["net"]["groups"]
    assert [group["hosts"] for group in groups] == [
        ["n0", "n4", "n8"], ["n1", "n5", "n9"], [], ["n2", "n6", "n10"], ["n3", "n7"], [], [], [],
    ]  # fmt: skip
    assert told.results[-1]["message"] == "network net needs the label rack=a or rack=b or rack=c"


def test_a_host_is_added_once_by_name_and_by_address(play: Play) -> None:
    ops = [join("n1", "192.0.2.9"), join("n3", "192.0.2.2"), join("n3"), join("n3"), leave("n3"), join("n3")]
    assert play(ONE, ops).short == ["exists", "exists", True, "exists", True, True]


def test_one_that_found_no_group_may_try_again(play: Play) -> None:
    ops = [join("n1", rack="x"), join("n1", rack="a"), ask("a")]
    assert play(topology("10.0.0.0/16", 28, *RACKS), ops).short == ["no_group", True, "10.0.0.0"]


def test_a_listed_host_that_is_removed_and_added_is_like_any_other(play: Play) -> None:
    """What a document lists counts from the start, until it is removed."""
    document = topology("10.0.0.0/16", 28, hosts("n1", "n2", "n3"), {"name": "other"})
    told = play(document, [leave("n1"), leave("n2"), join("x"), join("n1"), join("n4"), join("n2", rack="a")])
    groups = told.end["tree"]["net"]["groups"]
    assert [group["hosts"] for group in groups] == [["n3", "n1", "n2"], ["x", "n4"]]


def test_a_host_is_found_by_address_or_by_name(play: Play) -> None:
    by_address = {"op": "remove_host", "ip": "192.0.2.1"}
    ops = [by_address | {"name": "n2"}, by_address | {"name": "n1"}, by_address, leave("n1"), leave("n2")]
    assert play(ONE, ops).short == ["mismatch", True, "not_found", "not_found", True]
    ops = [label("nope"), {"op": "update_labels", "ip": "192.0.2.7"}]
    assert play(ONE, ops).short == ["not_found", "not_found"]


def test_labels_have_to_go_with_the_group_and_do_not_move_a_host(play: Play) -> None:
    zone = {"name": "zone", "assignment": {"zone": "z"}, "groups": [*RACKS]}
    ops = [join("n1", zone="z", rack="a"), label("n1", zone="z", rack="a", more="x"), label("n1", zone="z")]
    ops += [label("n1", rack="a"), label("n1", zone="z", rack="b"), label("n1", zone="z", rack="a")]
    told = play(topology("10.0.0.0/16", 28, zone), ops)
    assert told.short == [True, True, "ineligible", "ineligible", "ineligible", True]
    assert "zone=z, rack=a" in told.results[2]["message"]
    assert told.end["tree"]["net"]["groups"][0]["hosts"] == ["n1"]


def test_labels_never_make_a_host_join_another_network(play: Play) -> None:
    document = {
        "networks": [{"name": "a", "cidr": "10.0.0.0/24"}, {"name": "b", "cidr": "10.1.0.0/24"}],
        "topologies": [{"networks": ["a"], "map": RACKS[:1]}, {"networks": ["b"], "map": [
            {"name": "z", "assignment": {"zone": "z"}, "groups": []}
        ]}],
    }  # fmt: skip
    told = play(document, [join("n1", rack="a"), label("n1", rack="a", zone="z"), ask("a")])
    assert told.short == [True, True, "10.0.0.0"]
    assert (told.end["tree"]["a"]["hosts"], told.end["tree"]["b"]["hosts"]) == (["n1"], [])


# --- reserved ranges ---


def test_a_reserved_range_is_not_given_out_and_only_what_was_reserved_is_given_free(play: Play) -> None:
    document = topology("10.0.0.0/29", 30, hosts("n1"))
    ops = [shut("10.0.0.0/29"), shut("10.0.0.0/24"), shut("10.0.0.1/32"), shut("10.0.0.0/31"), ask("a")]
    ops += [shut("10.0.0.2/32"), shut("10.0.0.2/31"), shut("10.0.0.1/32"), open_("10.0.0.1/32")]
    ops += [open_("10.9.0.0/32"), open_("10.0.0.0/31"), ask("b"), shut("nonsense"), shut("10.0.0.6/30")]
    assert play(document, ops).short == [
        "blackout_whole_network", "no_network", True, True, "10.0.0.2",
        "blackout_in_use", "blackout_in_use", True, "no_such_blackout",
        "no_network", True, "10.0.0.0", "bad_cidr", True,
    ]  # fmt: skip


def test_a_larger_range_replaces_one_inside_it_and_no_more(play: Play) -> None:
    ops = [shut("10.0.0.0/32"), shut("10.0.0.2/32"), shut("10.0.0.0/30"), open_("10.0.0.0/32")]
    ops += [open_("10.0.0.0/30"), *(ask(name) for name in "abc")]
    assert play(ONE, ops).short[3:] == ["no_such_blackout", True, "10.0.0.0", "10.0.0.1", "10.0.0.3"]


def test_a_block_that_is_reserved_as_a_whole_is_nobodys(play: Play) -> None:
    """Romana gives it to the first who comes across it, and no one else ever has it."""
    told = play(ONE, [shut("10.0.0.0/29"), ask("a"), open_("10.0.0.0/29"), ask("b", tenant="db")])
    assert told.short == [True, "10.0.0.8", True, "10.0.0.0"]
    assert [one["cidr"] for one in told.end["blocks"]["net"]] == ["10.0.0.0/30", "10.0.0.8/30"]


# --- another topology ---


def test_addresses_stay_under_a_new_topology(play: Play) -> None:
    """Another name, another mask; what lies before the last block in use counts as given back."""
    document = topology("10.0.0.0/16", 31, hosts("n1", "n2"))
    document["networks"][0]["name"] = document["topologies"][0]["networks"][0] = "new"
    ops = [ask("a"), ask("b", "n2"), ask("c", "n2", "db"), give("a"), give("b"), change(document)]
    told = play(ONE, [*ops, ask("d"), ask("e", "n2"), give("c"), ask("f", tenant="x")])
    assert told.short[5:] == [True, "10.0.0.0", "10.0.0.2", True, "10.0.0.4"]
    assert told.end["addresses"] == {"d": "10.0.0.0", "e": "10.0.0.2", "f": "10.0.0.4"}
    assert list(told.end["blocks"]) == ["new"]


def test_hosts_are_placed_anew_where_their_addresses_are(play: Play) -> None:
    before = topology("10.0.0.0/24", 28)
    after = topology("10.0.0.0/24", 28, {"name": "low"}, {"name": "high"})
    ops = [join("n1"), join("n2"), join("n3"), ask("a", "n3"), change(after), ask("b", "n1"), ask("c", "n2")]
    told = play(before, ops)
    assert told.short[4:] == [True, "10.0.0.128", "10.0.0.16"]
    groups = told.end["tree"]["net"]["groups"]
    assert [group["hosts"] for group in groups] == [["n2", "n3"], ["n1"]]


@pytest.mark.parametrize(
    ("document", "kind", "part"),
    [
        (topology("10.1.0.0/24", 30), "no_network", "a (10.0.0.0 on n1): no network for tenant 'web'"),
        (topology("10.0.0.0/23", 30, hosts("n2"), hosts("n1")), "no_room", "in group all, which does not"),
        (topology("10.0.0.0/29", 29, hosts("n1", "n2")), "no_room", "b (10.0.0.4 on n2): others have addr"),
        (topology("10.0.0.0/29", 30, {}, {}, {}), "block_larger_than_group", "networks[0].block_mask"),
        ({}, "bad_document", "networks: a list with at least one entry is expected; topologies: a list"),
    ],
)
def test_a_topology_that_does_not_do_changes_nothing(document: Any, kind: str, part: str, play: Play) -> None:
    told = play(ONE, [ask("a"), ask("b", "n2"), change(document), ask("c")])
    assert told.code == 0
    assert told.short[2:] == [kind, "10.0.0.1"]
    assert part in told.results[2]["message"]
    assert told.end["tree"]["net"]["hosts"] == ["n1", "n2"]


def test_reserved_ranges_and_cooling_addresses_outlive_a_new_topology(play: Play) -> None:
    document = topology("10.0.0.0/25", 30, hosts("n1"))
    ops = [
        shut("10.0.0.5/32"),
        ask("a"),
        give("a"),
        change(document),
        ask("b"),
        ask("c"),
        open_("10.0.0.5/32"),
    ]
    told = play(ONE, [*ops, ask("d")], "--cooldown", "60")
    assert told.short[4:] == ["10.0.0.4", "10.0.0.6", True, "10.0.0.5"]


def test_what_cools_is_nobodys_under_a_new_topology_wherever_it_is_in_its_block(play: Play) -> None:
    document = topology("10.0.0.0/25", 30, hosts("n1"))
    ops = [ask("a"), ask("b"), give("b"), change(document), ask("c"), ask("d")]
    told = play(ONE, ops, "--cooldown", "60")
    assert told.short[4:] == ["10.0.0.2", "10.0.0.3"]


def test_who_has_an_address_and_has_just_given_another_back_keeps_it_under_a_new_topology(play: Play) -> None:
    document = topology("10.0.0.0/25", 30, hosts("n1"))
    ops = [ask("a"), give("a"), ask("a"), change(document), ask("b"), ask("c")]
    told = play(ONE, ops, "--cooldown", "60")
    assert told.short[2:] == ["10.0.0.1", True, "10.0.0.2", "10.0.0.3"]
    assert told.end["addresses"] == {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, "; and 1 more")])
def test_of_many_that_would_have_no_place_the_first_are_named(count: int, more: str, play: Play) -> None:
    told = play(ONE, [*(ask(f"p{at}") for at in range(count)), change(topology("10.1.0.0/24", 30))])
    message = told.results[-1]["message"]
    assert message.count("no network for tenant") == 5
    assert message.endswith(f"has this address{more}")
