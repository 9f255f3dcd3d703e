"""Romana's own address management, run on 77 cases: what it did is what is done here.

The cases are facts about Romana and are not part of this project; without them these tests are skipped.
Every case is played through events: a host that joins is a node that is seen, an allocation is a pod.
Where something is not compared, the reason of the skip says why.
"""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.events import HostPlaced, NodeSeen, TopologySet
from romana_bus.ipam import parse, view
from romana_bus.ipam.document import Reader
from romana_bus.ipam.reserve import BadRange, reserve, unreserve
from tests.ipam.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from romana_bus.ipam.blocks import Block
    from romana_bus.ipam.tree import Group

VECTORS = Path(__file__).parents[3] / "shared" / "ipam" / "romana-vectors.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text()) if VECTORS.exists() else []

#: Romana's kinds of errors that have another name here.
KINDS = {
    "blackout_whole_network": "whole_network",
    "blackout_in_use": "in_use",
    "no_such_blackout": "not_reserved",
}

#: (Case, result here) -> what is compared instead: Romana does not tell an unknown host from a full one.
ELSEWHERE = {("TestTenants", "host_unknown"): "host_unknown"}

pytestmark = pytest.mark.skipif(not CASES, reason=f"no {VECTORS.name} beside the checkout")


class Player:
    """One case, played."""

    def __init__(self, case: dict[str, Any]) -> None:
        self.cluster = Cluster(block_owner="segment", cooldown=0, warm_blocks=0)
        self.set_topology(case["topology"])
        self.allocations: dict[str, str] = {}
        self.results: list[tuple[dict[str, Any], str]] = [(op, self.play(op)) for op in case["ops"]]

    def set_topology(self, document: dict[str, Any]) -> None:
        """Hosts that the document lists are in the API before anything happens."""
        self.cluster.send(TopologySet(document=document))
        for leaf in self.cluster.state.topology.leaves:
            for host in leaf.hosts:
                if host.name not in self.cluster.state.hosts:
                    self.cluster.send(
                        NodeSeen(resource_version="1", uid=host.name, name=host.name, addresses=(host.ip,))
                    )
        self.cluster.decide()

    def play(self, op: dict[str, Any]) -> str:
        """What came of it: a result, or the kind of the error."""
        self.cluster.later(1)
        try:
            outcome: str = getattr(self, op["op"])(op)
        except BadRange as error:
            return error.kind
        self.cluster.decide()
        return outcome

    def add_host(self, op: dict[str, Any]) -> str:
        self.cluster.node(op["name"], op.get("tags"))
        self.cluster.decide()
        return "no_group" if self.cluster.state.hosts[op["name"]].denied else "ok"

    def remove_host(self, op: dict[str, Any]) -> str:
        self.cluster.no_node(op["name"])
        return "ok"

    def update_labels(self, op: dict[str, Any]) -> str:
        """Labels are facts here, and a node moves when it may; who wants to know before can ask."""
        if view.misplaced(self.cluster.state, op["name"], op["tags"]):
            return "ineligible"
        self.cluster.node(op["name"], op["tags"])
        return "ok"

    def allocate(self, op: dict[str, Any]) -> str:
        """A name is a pod's, and two pods of one name cannot be. What finds no address does not wait."""
        if op["name"] in self.allocations:
            return "exists"
        key = f"{op.get('tenant', '')}/{op['name']}"
        self.cluster.pod(key, op["host"], op.get("segment", ""))
        self.cluster.decide()
        if address := self.cluster.addresses().get(key):
            self.allocations[op["name"]] = key
            return address
        code = self.cluster.denied()[key]
        self.cluster.no_pod(key)
        return code

    def deallocate(self, op: dict[str, Any]) -> str:
        """By name, or by address."""
        key = self.allocations.get(op["name"])
        if key is None and op["name"][0].isdigit() and "." in op["name"]:
            found = view.address(self.cluster.state, op["name"])
            key = f"{found.namespace}/{found.name}" if found else None
        if key is None:
            return "not_found"
        self.allocations = {name: other for name, other in self.allocations.items() if other != key}
        self.cluster.no_pod(key)
        return "ok"

    def blackout(self, op: dict[str, Any]) -> str:
        self.cluster.send(*reserve(self.cluster.state, str(ip_network(op["cidr"], strict=False))))
        return "ok"

    def unblackout(self, op: dict[str, Any]) -> str:
        self.cluster.send(*unreserve(self.cluster.state, op["cidr"]))
        return "ok"

    def update_topology(self, op: dict[str, Any]) -> str:
        self.set_topology(op["topology"])
        return "ok"


def cases(*, apart_from: Callable[[dict[str, Any]], str] = lambda case: "") -> pytest.MarkDecorator:
    """All of them. Those that `apart_from` gives a reason for are skipped with it."""
    return pytest.mark.parametrize(
        "case",
        [
            pytest.param(
                case, id=case["name"], marks=[pytest.mark.skip(why)] if (why := apart_from(case)) else []
            )
            for case in CASES
        ],
    )


def refused(case: dict[str, Any]) -> str:
    """Why the case's topology gives nothing to play on."""
    return "Romana refuses this topology, and so do we" if "setup_error" in case else ""


def kinds(document: Any) -> set[str]:
    return {problem.kind for problem in Reader(document).problems}


@cases()
def test_what_romana_refuses_is_refused(case: dict[str, Any]) -> None:
    """And nothing else."""
    kind, _, _ = case.get("setup_error", "").partition(":")
    assert kinds(case["topology"]) == ({kind} if kind else set())


@cases()
def test_the_cidr_is_split_as_romana_splits_it(case: dict[str, Any]) -> None:
    """Always compared, padding included. Romana loses the names of nested groups: those are not."""
    for network in Reader(last_topology(case)).networks if "tree" in case else ():
        expected = case["tree"].get(network.name)
        assert (expected is None) == (network.tree is None)
        if network.tree is not None:
            assert shape(network.tree) == expected_shape(expected)


def last_topology(case: dict[str, Any]) -> Any:
    return next((op["topology"] for op in reversed(case["ops"]) if "topology" in op), case["topology"])


def shape(group: Group, nested: bool = False) -> tuple[Any, ...]:
    """Romana gives a root that it has made itself no CIDR."""
    made = group.name == "/"
    return (
        "" if made else str(group.prefix),
        "" if nested else group.name,
        dict(group.assignment),
        group.routing,
        [shape(inner, not made) for inner in group.groups],
    )


def expected_shape(group: dict[str, Any], nested: bool = False) -> tuple[Any, ...]:
    return (
        group["cidr"],
        "" if nested else group.get("name", ""),
        group.get("assignment", {}),
        group.get("routing"),
        [expected_shape(inner, group.get("name") != "/") for inner in group.get("groups", ())],
    )


def misplaced(case: dict[str, Any]) -> str:
    return refused(case) or (
        "Romana gave hosts the padding, its B1" if case["hosts_in_padding_groups"] else ""
    )


@cases(apart_from=misplaced)
def test_hosts_are_where_romana_places_them(case: dict[str, Any]) -> None:
    placed: dict[str, list[str]] = {}
    for host in Player(case).cluster.newest(HostPlaced):
        for placement in host.placements:
            placed.setdefault(placement.prefix, []).append(host.node)
    for network in parse(last_topology(case)).networks:
        expected = dict(leaves(case["tree"].get(network.name, {}), str(network.prefix)))
        written = dict(as_written(network.tree)) if network.tree else {}
        assert {
            prefix: sorted(
                written.get(prefix, []) + [n for n in placed.get(prefix, []) if n not in network.listed]
            )
            for prefix in expected
        } == expected


def as_written(group: Group) -> Iterator[tuple[str, list[str]]]:
    """Leaf -> the hosts that the document lists there. Romana's parser tests list one many times; here
    it counts where it comes first, and is shown as it was written."""
    yield str(group.prefix), [host.name for host in group.hosts]
    for inner in group.groups:
        yield from as_written(inner)


def leaves(group: dict[str, Any], above: str) -> Iterator[tuple[str, list[str]]]:
    prefix = group.get("cidr") or above
    for inner in group.get("groups", ()):
        yield from leaves(inner, prefix)
    if "hosts" in group:
        yield prefix, sorted(group["hosts"])


def inconsistent(case: dict[str, Any]) -> str:
    return refused(case) or (
        "" if case["reference_self_consistent"] else "Romana is not consistent in itself"
    )


@cases(apart_from=inconsistent)
def test_every_operation_has_the_result_that_romana_gives(case: dict[str, Any]) -> None:
    for op, result in Player(case).results:
        expected = op.get("error_kind") or op.get("result") or "ok"
        expected = ELSEWHERE.get((case["name"], result), expected)
        assert result == KINDS.get(expected, expected), op


@cases(apart_from=inconsistent)
def test_the_blocks_and_addresses_at_the_end_are_romanas(case: dict[str, Any]) -> None:
    """Romana counts the addresses of a block wrongly where its lowest one is free (B7): they are counted
    from its own list of addresses."""
    player = Player(case)
    given = player.cluster.addresses()
    addresses = case.get("addresses", {})
    assert {name: given[key] for name, key in player.allocations.items()} == addresses
    blocks = [
        (block.text, block.node, *owner(block), block.used.bit_count())
        for block in player.cluster.state.blocks.values()
    ]
    expected = [
        (block["cidr"], block["host"], block["tenant"], block["segment"], inside(block["cidr"], addresses))
        for network in case["blocks"].values()
        for block in network
    ]
    assert sorted(blocks) == sorted(expected)


def inside(cidr: str, addresses: dict[str, str]) -> int:
    return sum(ip_address(address) in ip_network(cidr) for address in addresses.values())


def owner(block: Block) -> tuple[str, str]:
    return (block.tenant, block.segment) if block.node else ("", "")
