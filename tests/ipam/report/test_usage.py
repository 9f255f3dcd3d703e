"""Usage: it adds up at every level and in both families, and shows the fragmentation of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from romana_bus.ipam.report import views
from romana_bus.ipam.report.tenants import tenants
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.model.usage import Usage

DUAL = {
    "networks": [
        {"name": "four", "cidr": "10.0.0.0/24", "block_mask": 29},
        {"name": "six", "cidr": "fd00::/48", "block_mask": 125},
    ],
    "topologies": [
        {"networks": ["four", "six"], "map": [{"name": "a", "groups": []}, {"name": "b", "groups": []}]}
    ],
}


def usages(c: Cluster) -> Iterator[tuple[str, Usage]]:
    for network in views.networks(c.state):
        yield f"network {network.network}", network.usage
        yield f"usable {network.network}", network.usable
        yield from ((f"group {group.group}", group.usage) for group in network.groups)
    for host in views.hosts(c.state):
        yield f"host {host.node}", host.usage
    for block in views.blocks(c.state):
        yield f"block {block.block}", block.usage
    for tenant in tenants(c.state):
        yield from ((f"tenant {tenant.tenant} {family}", usage) for family, usage in tenant.usage.items())


def only(c: Cluster) -> Usage:
    return views.networks(c.state)[0].usage


@pytest.mark.parametrize("block_owner", ["host", "tenant"])
def test_usage_adds_up_at_every_level_and_in_both_families(block_owner: str) -> None:
    c = Cluster(DUAL, block_owner=block_owner)
    c.node("n1")
    c.node("n2")
    c.send(ev.RangeReserved(cidr="10.0.0.2/31"), ev.RangeReserved(cidr="fd00::100/120"))
    for number in range(12):
        c.pod(f"{'web' if number % 3 else 'db'}/p{number}", f"n{number % 2 + 1}")
    c.decide()
    for number in range(4):
        c.no_pod(f"{'web' if number % 3 else 'db'}/p{number}")
    c.decide()
    found = dict(usages(c))
    for name, usage in found.items():
        assert usage.used + usage.cooling + usage.reserved + usage.free == usage.size, name
        assert 0 <= usage.fragmented <= usage.free, name
    for family in ("four", "six"):
        assert (found[f"network {family}"].used, found[f"network {family}"].cooling) == (8, 4)
    assert found["network six"].reserved == 256
    assert found["network six"].size == 2**80
    assert [found[f"host n{at}"].used for at in (1, 2)] == [8, 8]
    assert sum(found[f"host n{at}"].fragmented for at in (1, 2)) == sum(
        found[f"network {name}"].fragmented for name in ("four", "six")
    )


def test_whole_blocks_are_no_fragments_with_any_owner() -> None:
    c = Cluster(topology("10.0.0.0/26", 29))
    c.node("n1")
    c.node("n2")
    c.decide()
    assert c.blocks().keys() == {"10.0.0.0/29", "10.0.0.8/29"}
    assert (only(c).fragmented, only(c).fragmentation) == (0, 0.0)


def test_free_addresses_beside_used_ones_are_fragments() -> None:
    c = Cluster(topology("10.0.0.0/27", 29), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    assert (only(c).fragmented, only(c).free) == (7, 31)
    assert only(c).fragmentation == pytest.approx(22.58, abs=0.01)
    assert views.hosts(c.state)[0].usage.fragmentation == 100
    c.no_pod("web/a")  # it cools: still nobody else's
    c.decide()
    assert (only(c).fragmented, only(c).cooling) == (7, 1)
    c.later(30)
    c.decide()
    assert (only(c).fragmented, only(c).free) == (0, 32)


def test_reserved_addresses_are_neither_free_nor_fragments() -> None:
    c = Cluster(topology("10.0.0.0/27", 29), warm_blocks=0)
    c.send(ev.RangeReserved(cidr="10.0.0.4/30"))
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    assert (only(c).fragmented, only(c).reserved) == (3, 4)


def test_a_full_network_is_not_fragmented() -> None:
    c = Cluster(topology("10.0.0.0/30", 30), warm_blocks=0)
    c.node("n1")
    for name in "abcd":
        c.pod(f"web/{name}", "n1")
    c.decide()
    assert (only(c).free, only(c).fragmentation) == (0, 0.0)


@pytest.mark.parametrize(
    ("before", "after", "fragmented"),
    [(30, 28, 16 - 1), (28, 30, 16 - 1), (29, 29, 8 - 1)],
    ids=["blocks have grown", "blocks have shrunk", "unchanged"],
)
def test_an_old_block_spoils_the_whole_of_todays_block_around_it(
    before: int, after: int, fragmented: int
) -> None:
    """A block of /30 in use: nobody can open the /28 that it lies in."""
    c = Cluster(topology("10.0.0.0/26", before), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    c.send(ev.TopologySet(document=topology("10.0.0.0/26", after)))
    c.decide()
    assert only(c).fragmented == fragmented


def test_groups_inside_a_larger_old_block_share_its_fragments() -> None:
    c = Cluster(topology("10.0.0.0/28", 28), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    c.send(ev.TopologySet(document=topology("10.0.0.0/28", 30, {"name": "a"}, {"name": "b"})))
    c.decide()
    (network,) = views.networks(c.state)
    assert [(g.group, g.usage.free, g.usage.fragmented) for g in network.groups] == [
        ("/", 15, 15),
        ("a", 7, 7),
        ("b", 8, 8),
    ]


def test_padding_is_not_usable() -> None:
    groups: list[dict[str, Any]] = [{"name": name} for name in "abc"]
    c = Cluster(topology("10.0.0.0/26", 30, *groups))
    (network,) = views.networks(c.state)
    assert (network.usage.size, network.usable.size) == (64, 48)


def test_usage_of_a_tenant_is_that_of_its_networks() -> None:
    document = {
        "networks": [
            {"name": "own", "cidr": "10.1.0.0/28", "block_mask": 30, "tenants": ["db"]},
            {"name": "all", "cidr": "10.0.0.0/24", "block_mask": 30},
        ],
        "topologies": [{"networks": ["own", "all"], "map": [{"groups": []}]}],
    }
    c = Cluster(document, block_owner="tenant")
    c.node("n1")
    c.pod("db/a", "n1")
    c.pod("db/lost", "n9")
    c.pod("web/a", "n1")
    c.pod("web/b", "n1")
    c.decide()
    c.no_pod("web/b")
    c.decide()
    db, web = tenants(c.state)
    assert (db.tenant, db.pods, db.used, db.cooling, db.waiting, db.blocks) == ("db", 1, 1, 0, 1, 1)
    assert (web.tenant, web.pods, web.used, web.cooling, web.waiting, web.blocks) == ("web", 1, 1, 1, 0, 1)
    assert (db.networks, web.networks) == (("own", "all"), ("all",))
    assert (db.usage["ipv4"].size, web.usage["ipv4"].size) == (16 + 256, 256)
    assert web.usage["ipv4"].free == 256 - 2
