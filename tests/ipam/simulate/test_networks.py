"""`ipam simulate` on cases of our own: networks, tenants and families."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.ipam.cluster import topology
from tests.ipam.simulate.operations import ask, block, give, hosts, join, leave, shut

if TYPE_CHECKING:
    from tests.ipam.conftest import Play


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
    """Romana does not distinguish an unknown host from a full one; the message does."""
    document = networks({"name": "web", "cidr": "10.1.0.0/24", "tenants": ["web"]})
    played = play(document, [ask("a", tenant="db"), ask("a", "nope", "db"), ask("a", "nope"), ask("a")])
    assert played.short == ["no_network", "no_network", "exhausted", "10.1.0.0"]
    assert played.results[2]["message"] == "there is no host nope"


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
    played = play(document, [join("n1"), shut("10.9.0.0/30"), leave("n1")])
    assert played.short == [True, True, True]
    assert set(played.end["tree"]) == set(played.end["blocks"]) == {"net"}


def test_two_families_all_or_nothing(play: Play) -> None:
    document = networks(
        {"name": "four", "cidr": "10.0.0.0/30", "block_mask": 31},
        {"name": "six", "cidr": "fd00::/127", "block_mask": 127},
    )
    played = play(document, [ask("a"), ask("b"), ask("c"), give("fd00::"), ask("c")])
    both = [["10.0.0.0", "fd00::"], ["10.0.0.1", "fd00::1"]]
    assert played.short == [*both, "exhausted", True, both[0]]
    assert played.end["addresses"] == {"b": both[1], "c": both[0]}
    assert played.end["blocks"]["four"] == [block("10.0.0.0/31", "n1", "web", "", 2)]


def test_ipv6_alone(play: Play) -> None:
    document = topology("fd00::/48", 128, {"name": "a"}, {"name": "b"}, {"name": "c"})
    played = play(
        document, [join("n1", "fe80::1"), join("n2", "fe80::2"), ask("a"), ask("b", "n2"), ask("c")]
    )
    assert played.short[2:] == ["fd00::", "fd00:0:0:4000::", "fd00::1"]
    assert [group["cidr"] for group in played.end["tree"]["net"]["groups"]] == [
        "fd00::/50", "fd00:0:0:4000::/50", "fd00:0:0:8000::/50", "fd00:0:0:c000::/50",
    ]  # fmt: skip
    assert play(document, [join("n1"), ask("a"), give("FD00:0::0")]).short[2] is True
