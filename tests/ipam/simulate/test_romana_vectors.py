"""Romana's own address management, run on 77 cases: what it did is what `ipam simulate` prints.

The cases are facts about Romana and are not part of this project; without them these tests are skipped.
Where something of a case is not compared, the reason of the skip says why. The other modules here have cases
of our own.
"""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.processes import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.ipam.conftest import Play

VECTORS = Path(__file__).parents[4] / "shared" / "ipam" / "romana-vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text()) if VECTORS.exists() else []
#: Those whose topology Romana took. Of the others there is nothing to compare but that they are refused.
PLAYED = [case for case in CASES if "setup_error" not in case]

pytestmark = pytest.mark.skipif(not CASES, reason=f"no {VECTORS.name} beside the checkout")


def cases(of: list[dict[str, Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", [pytest.param(case, id=case["name"]) for case in of])


@cases(CASES)
def test_exactly_the_operations_refused_by_romana_are_refused(case: dict[str, Any], play: Play) -> None:
    played = play(case["topology"], [])
    kind, _, _ = case.get("setup_error", "").partition(":")
    assert (played.code, played.short) == ((2, [kind]) if kind else (0, []))
    assert bool(played.end) == (not kind)


@cases(PLAYED)
def test_the_cidr_is_split_as_romana_splits_it(case: dict[str, Any], play: Play) -> None:
    """Always compared, padding included. Romana loses the names of nested groups (B6): we do not."""
    ours = play(case["topology"], case["ops"]).end["tree"]
    assert {name: shape(tree) for name, tree in ours.items()} == {
        name: shape(tree) for name, tree in case["tree"].items()
    }


def shape(group: dict[str, Any], depth: int = 0) -> tuple[Any, ...]:
    """A root that joins the entries of a map has no CIDR, and its groups are the first ones with names."""
    named = depth == 0 or (depth == 1 and group.get("name"))
    return (
        group["cidr"],
        group.get("name") if named else None,
        group.get("assignment"),
        group.get("routing"),
        "hosts" in group,
        [shape(inner, 1 if group.get("name") == "/" else 2) for inner in group.get("groups", ())],
    )


@cases(PLAYED)
def test_hosts_are_where_romana_places_them(case: dict[str, Any], play: Play) -> None:
    if case["hosts_in_padding_groups"]:
        pytest.skip("Romana gave hosts the padding, its B1")
    ours = play(case["topology"], case["ops"]).end["tree"]
    for network, tree in case["tree"].items():
        assert dict(leaves(ours[network])) == dict(leaves(tree))


@cases([case for case in PLAYED if case["hosts_in_padding_groups"]])
def test_hosts_that_romana_gave_the_padding_are_in_groups_that_take_them(
    case: dict[str, Any], play: Play
) -> None:
    played = play(case["topology"], case["ops"])
    assert set(played.short) == {True}
    tags = {op["name"]: op["tags"].items() for op in case["ops"] if op.get("tags")}
    for tree in played.end["tree"].values():
        for assignments, hosts in taken(tree, []):
            assert all(set(assignments) <= set(tags.get(host, ())) for host in hosts)
            if assignments == [("closed", "")]:
                assert hosts == []


def taken(group: dict[str, Any], above: list[tuple[str, str]]) -> Iterator[tuple[list[Any], list[str]]]:
    """Each leaf: what it asks of a host, and its hosts. Padding has no name and asks for nothing; it is
    the only such group where all others are written down with one of both."""
    asks = above + list(group.get("assignment", {}).items())
    for inner in group.get("groups", ()):
        yield from taken(inner, asks)
    if "hosts" in group:
        closed = not group.get("name") and not group.get("assignment")
        yield ([("closed", "")] if closed else asks), group["hosts"]


def leaves(group: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    for inner in group.get("groups", ()):
        yield from leaves(inner)
    if "hosts" in group:
        yield group["cidr"], group["hosts"]


def inconsistent(case: dict[str, Any]) -> None:
    if not case["reference_self_consistent"]:
        pytest.skip("Romana is not consistent in itself")


@cases(PLAYED)
def test_every_operation_has_the_result_that_romana_gives(case: dict[str, Any], play: Play) -> None:
    inconsistent(case)
    played = play(case["topology"], case["ops"])
    assert played.code == 0
    assert played.short == [
        op.get("result", True) if op["ok"] else op["error_kind"] for op in case["ops"]
    ]  # fmt: skip
    assert all(line["message"] for line in played.results if not line["ok"])


@cases(PLAYED)
def test_the_blocks_and_addresses_at_the_end_are_romanas(case: dict[str, Any], play: Play) -> None:
    """In their order. Romana counts the addresses of a block wrongly where its lowest one is free (B7):
    they are counted from its own list of addresses."""
    inconsistent(case)
    played = play(case["topology"], case["ops"])
    addresses = case.get("addresses", {})
    assert played.end["addresses"] == addresses
    assert played.end["blocks"] == {
        network: [block | {"allocated_ip_count": inside(block["cidr"], addresses)} for block in blocks]
        for network, blocks in case["blocks"].items()
    }


@cases([case for case in PLAYED if case["name"] in ("TestBlackout", "TestUpdateTopology", "gen-alloc-01")])
def test_as_a_separate_process(case: dict[str, Any], play: Play, tmp_path: Path) -> None:
    here = play(case["topology"], case["ops"])
    there = Home(tmp_path / "home").run(
        "ipam", "simulate", "--topology", str(tmp_path / "topology.json"), "--ops", "-",
        "--block-owner", "segment", "--cooldown", "0", stdin=(tmp_path / "ops.jsonl").read_bytes(),
    )  # fmt: skip
    assert (there.code, there.err) == (0, "")
    assert there.json_lines == [*here.results, here.end]


def inside(cidr: str, addresses: dict[str, str]) -> int:
    return sum(ip_address(address) in ip_network(cidr) for address in addresses.values())
