"""`ipam simulate` on cases of our own: reserved ranges, and another topology."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.ipam.cluster import topology
from tests.ipam.simulate.operations import ONE, ask, change, give, hosts, join, open_, shut

if TYPE_CHECKING:
    from tests.ipam.conftest import Play


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


def test_fully_reserved_block_has_no_owner(play: Play) -> None:
    """Romana gives it to the first who comes across it, and no one else ever has it."""
    played = play(ONE, [shut("10.0.0.0/29"), ask("a"), open_("10.0.0.0/29"), ask("b", tenant="db")])
    assert played.short == [True, "10.0.0.8", True, "10.0.0.0"]
    assert [one["cidr"] for one in played.end["blocks"]["net"]] == ["10.0.0.0/30", "10.0.0.8/30"]


# --- another topology ---


def test_addresses_stay_under_a_new_topology(play: Play) -> None:
    """Another name, another mask; what lies before the last block in use counts as given back."""
    document = topology("10.0.0.0/16", 31, hosts("n1", "n2"))
    document["networks"][0]["name"] = document["topologies"][0]["networks"][0] = "new"
    ops = [ask("a"), ask("b", "n2"), ask("c", "n2", "db"), give("a"), give("b"), change(document)]
    played = play(ONE, [*ops, ask("d"), ask("e", "n2"), give("c"), ask("f", tenant="x")])
    assert played.short[5:] == [True, "10.0.0.0", "10.0.0.2", True, "10.0.0.4"]
    assert played.end["addresses"] == {"d": "10.0.0.0", "e": "10.0.0.2", "f": "10.0.0.4"}
    assert list(played.end["blocks"]) == ["new"]


def test_hosts_are_placed_again_where_their_addresses_are(play: Play) -> None:
    before = topology("10.0.0.0/24", 28)
    after = topology("10.0.0.0/24", 28, {"name": "low"}, {"name": "high"})
    ops = [join("n1"), join("n2"), join("n3"), ask("a", "n3"), change(after), ask("b", "n1"), ask("c", "n2")]
    played = play(before, ops)
    assert played.short[4:] == [True, "10.0.0.128", "10.0.0.16"]
    groups = played.end["tree"]["net"]["groups"]
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
def test_refused_topology_changes_nothing(document: Any, kind: str, part: str, play: Play) -> None:
    played = play(ONE, [ask("a"), ask("b", "n2"), change(document), ask("c")])
    assert played.code == 0
    assert played.short[2:] == [kind, "10.0.0.1"]
    assert part in played.results[2]["message"]
    assert played.end["tree"]["net"]["hosts"] == ["n1", "n2"]


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
    played = play(ONE, [*ops, ask("d")], "--cooldown", "60")
    assert played.short[4:] == ["10.0.0.4", "10.0.0.6", True, "10.0.0.5"]


def test_cooling_addresses_are_not_assigned_under_a_new_topology(play: Play) -> None:
    document = topology("10.0.0.0/25", 30, hosts("n1"))
    ops = [ask("a"), ask("b"), give("b"), change(document), ask("c"), ask("d")]
    played = play(ONE, ops, "--cooldown", "60")
    assert played.short[4:] == ["10.0.0.2", "10.0.0.3"]


def test_pod_with_an_assigned_and_a_cooling_address_keeps_the_assigned_one(play: Play) -> None:
    document = topology("10.0.0.0/25", 30, hosts("n1"))
    ops = [ask("a"), give("a"), ask("a"), change(document), ask("b"), ask("c")]
    played = play(ONE, ops, "--cooldown", "60")
    assert played.short[2:] == ["10.0.0.1", True, "10.0.0.2", "10.0.0.3"]
    assert played.end["addresses"] == {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, "; and 1 more")])
def test_first_of_many_unplaced_hosts_are_named(count: int, more: str, play: Play) -> None:
    played = play(ONE, [*(ask(f"p{at}") for at in range(count)), change(topology("10.1.0.0/24", 30))])
    message = played.results[-1]["message"]
    assert message.count("no network for tenant") == 5
    assert message.endswith(f"has this address{more}")
