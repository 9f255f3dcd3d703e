"""`ipam simulate` on cases of our own: which address and block a pod gets, and when they are free again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.ipam.cluster import topology
from tests.ipam.simulate.operations import (
    ONE,
    TINY,
    ask,
    block,
    give,
    hosts,
    shut,
)

if TYPE_CHECKING:
    from tests.ipam.conftest import Play


def test_a_block_is_one_hosts_one_tenants_and_one_segments(play: Play) -> None:
    played = play(ONE, [ask("a"), ask("b", tenant="db"), ask("c", segment="x"), ask("d", "n2"), ask("e")])
    assert played.short == ["10.0.0.0", "10.0.0.4", "10.0.0.8", "10.0.0.12", "10.0.0.1"]
    assert played.end["blocks"]["net"] == [
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
def test_blocks_with_their_owners(owner: str, addresses: list[str], play: Play) -> None:
    ops = [ask("a"), ask("b", tenant="db"), ask("c", segment="x")]
    assert play(ONE, ops, "--block-owner", owner).short == addresses


def test_the_lowest_free_address_first_and_the_block_that_came_back_first(play: Play) -> None:
    """An empty block is anybody's, in the order in which blocks became empty, before a new one is made."""
    ops = [ask(name, tenant=name) for name in "abc"] + [give("c"), give("a")]
    ops += [ask("d", "n2"), ask("e", "n2", "db"), ask("f", "n2", "x"), ask("g", "n2")]
    played = play(ONE, ops)
    assert played.short[5:] == ["10.0.0.8", "10.0.0.0", "10.0.0.12", "10.0.0.9"]
    assert [found["cidr"] for found in played.end["blocks"]["net"]] == [
        "10.0.0.0/30",
        "10.0.0.4/30",
        "10.0.0.8/30",
        "10.0.0.12/30",
    ]


def test_empty_block_has_no_owner_and_is_kept(play: Play) -> None:
    played = play(ONE, [ask("a"), give("a")])
    assert played.end["blocks"] == {"net": [block("10.0.0.0/30", "", "", "", 0)]}
    assert played.end["addresses"] == {}


def test_blocks_come_back_in_order_also_hours_later(play: Play) -> None:
    """An operation takes a second; a live cluster remembers the order of releases for an hour."""
    ops = [ask("a"), ask("b", tenant="db"), give("b"), give("a")]
    played = play(ONE, [*ops, *[shut("10.0.0.240/32")] * 4_000, ask("c")])
    assert played.short[-1] == "10.0.0.4"


def test_by_name_or_by_address(play: Play) -> None:
    ops = [ask("a"), ask("b"), give("10.0.0.0"), give("b"), give("b"), give("10.0.0.0"), give("10.0.0.x")]
    assert play(ONE, ops).short[2:] == [True, True, "not_found", "not_found", "not_found"]


def test_a_name_that_is_an_address_is_a_name_first(play: Play) -> None:
    played = play(ONE, [ask("a"), ask("10.0.0.0"), give("10.0.0.0")])
    assert played.end["addresses"] == {"a": "10.0.0.0"}


def test_exhaustion_and_its_end(play: Play) -> None:
    ops = [ask("a"), ask("b"), ask("c"), ask("d", tenant="db"), give("a"), ask("d", tenant="db"), ask("c")]
    played = play(TINY, ops)
    assert played.short == ["10.0.0.0", "10.0.0.1", "exhausted", "exhausted", True, "exhausted", "10.0.0.0"]
    assert "full" in played.results[2]["message"]


def test_name_is_assigned_once(play: Play) -> None:
    played = play(ONE, [ask("a"), ask("a", "n2", "db"), give("a"), ask("a", "n2", "db")])
    assert played.short == ["10.0.0.0", "exists", True, "10.0.0.0"]
    assert played.results[1]["message"] == "a has an address already: 10.0.0.0"


def test_blocks_of_one_address(play: Play) -> None:
    played = play(
        topology("10.0.0.0/30", 32, hosts("n1")), [ask("a"), ask("b"), give("a"), ask("c"), ask("d")]
    )
    assert played.short == ["10.0.0.0", "10.0.0.1", True, "10.0.0.0", "10.0.0.2"]


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
