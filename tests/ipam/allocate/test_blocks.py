"""Blocks: whose they are, which one is next, and the spare ones."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.inet import parse_prefix
from romana_bus.ipam.model.blocks import Block, Chain
from tests.ipam.cluster import Cluster, topology


def cluster(cidr: str = "10.0.0.0/27", hosts: tuple[str, ...] = ("n1",), **settings: Any) -> Cluster:
    c = Cluster(topology(cidr, 30), **{"cooldown": 0, **settings})
    for name in hosts:
        c.node(name)
    c.decide()
    return c


def pods(c: Cluster, node: str, *names: str, segment: str = "") -> None:
    for name in names:
        c.pod(name if "/" in name else f"web/{name}", node, segment)


def gone(c: Cluster, *names: str) -> None:
    for name in names:
        c.no_pod(f"web/{name}")


# --- whose they are ---


def test_block_owner_is_the_host() -> None:
    c = cluster(warm_blocks=0)
    pods(c, "n1", "web/a", "db/a")
    assert c.says() == ["10.0.0.0/30 to n1", "db/a on n1: 10.0.0.0", "web/a on n1: 10.0.0.1"]


def test_block_owner_is_host_and_tenant() -> None:
    c = cluster(warm_blocks=0, block_owner="tenant")
    pods(c, "n1", "web/a", "db/a", "web/b")
    assert c.says() == [
        "10.0.0.0/30 to n1 for db",
        "db/a on n1: 10.0.0.0",
        "10.0.0.4/30 to n1 for web",
        "web/a on n1: 10.0.0.4",
        "web/b on n1: 10.0.0.5",
    ]


def test_block_owner_is_host_tenant_and_segment() -> None:
    c = cluster(warm_blocks=0, block_owner="segment")
    pods(c, "n1", "web/a")
    pods(c, "n1", "web/b", segment="front")
    assert c.says() == [
        "10.0.0.0/30 to n1 for web -",
        "web/a on n1: 10.0.0.0",
        "10.0.0.4/30 to n1 for web front",
        "web/b on n1: 10.0.0.4",
    ]


# --- which one is next ---


def test_blocks_of_different_hosts_lie_side_by_side() -> None:
    c = cluster(hosts=("n1", "n2"), warm_blocks=0)
    pods(c, "n1", "a", "b", "c", "d", "f")
    pods(c, "n2", "e")
    c.decide()
    assert c.blocks() == {"10.0.0.0/30": "n1", "10.0.0.4/30": "n2", "10.0.0.8/30": "n1"}


def test_a_released_block_comes_before_one_never_used_the_one_released_first() -> None:
    c = cluster(hosts=("n1", "n2"), warm_blocks=0)
    pods(c, "n1", "a", "b", "c", "d", "e", "f", "g", "h", "i")
    c.decide()
    for names in ("efgh", "abcd"):
        c.later(1)
        gone(c, *names)
        c.decide()
    pods(c, "n2", "v", "w", "x", "y", "z")
    assert [line for line in c.says() if "/30" in line] == ["10.0.0.4/30 to n2", "10.0.0.0/30 to n2"]


def test_after_an_hour_the_order_of_releases_is_forgotten_and_the_lowest_comes_first() -> None:
    """So the tombstones that tell it may expire."""
    c = cluster(hosts=("n1", "n2"), warm_blocks=0)
    pods(c, "n1", "a", "b", "c", "d", "e")
    c.decide()
    for names in ("e", "abcd"):
        c.later(1)
        gone(c, *names)
        c.decide()
    c.later(3600)
    pods(c, "n2", "z")
    assert c.says() == ["10.0.0.0/30 to n2", "web/z on n2: 10.0.0.0"]


def test_release_of_a_block_by_another_node_is_ignored() -> None:
    c = cluster(hosts=("n1", "n2"), warm_blocks=0)
    pods(c, "n2", "a")
    c.decide()
    c.send(ev.BlockReleased(network="net", block="10.0.0.0/30", node="n1", at=c.state.now, until=c.state.now))
    pods(c, "n1", "b")
    assert c.says() == ["10.0.0.4/30 to n1", "web/b on n1: 10.0.0.4"]
    pods(c, "n2", "c")
    assert c.says() == ["web/c on n2: 10.0.0.1"]


def test_a_block_that_is_released_twice_in_one_moment() -> None:
    c = cluster(hosts=("n1", "n2"), warm_blocks=0)
    now = c.state.now
    release = ev.BlockReleased(network="net", block="10.0.0.4/30", node="n1", at=now, until=now)
    again = ev.BlockAssigned(network="net", block="10.0.0.4/30", node="n1", since=now)
    c.send(release, again, release)
    pods(c, "n2", "a")
    assert c.says() == ["10.0.0.4/30 to n2", "web/a on n2: 10.0.0.4"]


def test_cooling_block_around_another_leaves_only_the_rest_usable() -> None:
    """Blocks of an earlier topology; a decider that boots finds both."""
    c = cluster("10.0.0.0/29", hosts=("n1", "n2"), warm_blocks=0)
    now = c.state.now
    c.send(ev.BlockAssigned(network="net", block="10.0.0.4/30", node="n1", since=now))
    c.send(ev.BlockReleased(network="net", block="10.0.0.0/29", node="n2", at=now, until=now + 60 * SECOND))
    pods(c, "n1", "a")
    c = c.rebuilt()
    assert c.says() == ["web/a on n1: 10.0.0.4"]
    c.later(60)
    pods(c, "n2", "b", "c")
    assert c.says() == ["10.0.0.0/30 to n2", "web/b on n2: 10.0.0.0", "web/c on n2: 10.0.0.1"]


def test_a_block_that_is_not_free_yet_is_remembered_longer_than_the_order_of_releases() -> None:
    c = cluster(hosts=("n1", "n2"), warm_blocks=0, order_memory=60 * SECOND)
    until = c.state.now + 9_000 * SECOND
    c.send(ev.BlockReleased(network="net", block="10.0.0.0/30", node="n1", at=c.state.now, until=until))
    c.later(8_000)
    pods(c, "n2", "a")
    assert c.says() == ["10.0.0.4/30 to n2", "web/a on n2: 10.0.0.4"]
    c.later(1_000)
    pods(c, "n1", "b")
    assert c.says() == ["10.0.0.0/30 to n1", "web/b on n1: 10.0.0.0"]


def test_a_block_of_a_group_that_is_full_stays_inside_it() -> None:
    c = Cluster(topology("10.0.0.0/29", 30, {"name": "a"}, {"name": "b"}), warm_blocks=0)
    c.node("n1")
    pods(c, "n1", "a", "b", "c", "d", "e")
    c.decide()
    assert c.blocks() == {"10.0.0.0/30": "n1"}
    assert c.denied() == {"web/e": "exhausted"}


def test_blocks_of_another_size_live_on_and_new_ones_go_around_them() -> None:
    c = cluster("10.0.0.0/27", warm_blocks=0)
    pods(c, "n1", "a")
    c.decide()
    c.send(ev.TopologySet(document=topology("10.0.0.0/27", 29)))
    pods(c, "n1", "b", "c", "d", "e")
    assert [line for line in c.says() if "to" in line] == ["10.0.0.8/29 to n1"]
    gone(c, "a", "b", "c", "d")
    assert "10.0.0.0/30 from n1" in c.says()
    c.node("n2")
    pods(c, "n2", "x")
    assert "10.0.0.0/29 to n2" in c.says()


# --- the spare ones ---


def test_every_host_has_one_warm_block() -> None:
    c = Cluster(topology("10.0.0.0/27", 30))
    c.node("n1")
    assert c.says() == ["n1 is in net all 10.0.0.0/27", "10.0.0.0/30 to n1"]
    pods(c, "n1", "a")
    assert c.says() == ["web/a on n1: 10.0.0.0", "10.0.0.4/30 to n1"]
    pods(c, "n1", "b", "c", "d")
    assert len(c.says()) == 3
    pods(c, "n1", "e")
    assert c.says() == ["web/e on n1: 10.0.0.4", "10.0.0.8/30 to n1"]


def test_a_second_empty_block_is_released_and_the_older_one_kept() -> None:
    c = cluster()
    pods(c, "n1", "a")
    c.decide()
    gone(c, "a")
    assert c.says() == ["web/a on n1: released, the pod is gone", "10.0.0.4/30 from n1"]
    assert c.blocks() == {"10.0.0.0/30": "n1"}


def test_a_block_is_empty_when_its_last_address_has_cooled() -> None:
    c = cluster(cooldown=30_000_000)
    pods(c, "n1", "a")
    c.decide()
    gone(c, "a")
    assert c.says() == ["web/a on n1: released, the pod is gone"]
    c.later(30)
    assert c.says() == ["10.0.0.4/30 from n1"]


def test_warm_block_serves_any_tenant() -> None:
    c = cluster(block_owner="tenant")
    pods(c, "n1", "web/a")
    assert c.says() == ["10.0.0.0/30 to n1 for web", "web/a on n1: 10.0.0.0", "10.0.0.4/30 to n1"]
    gone(c, "a")
    assert c.says() == ["web/a on n1: released, the pod is gone", "10.0.0.0/30 from n1"]


def test_only_empty_block_loses_its_owner() -> None:
    c = cluster("10.0.0.0/30", block_owner="tenant")
    pods(c, "n1", "web/a")
    assert c.says() == ["10.0.0.0/30 to n1 for web", "web/a on n1: 10.0.0.0"]
    gone(c, "a")
    assert c.says() == ["web/a on n1: released, the pod is gone", "10.0.0.0/30 to n1"]


def test_warm_blocks_of_a_tenant_network_are_for_hosts_with_a_block_there() -> None:
    document = topology("10.0.0.0/27", 30)
    document["networks"][0]["tenants"] = ["web"]
    c = Cluster(document)
    c.node("n1")
    assert c.says() == ["n1 is in net all 10.0.0.0/27"]
    pods(c, "n1", "a")
    assert c.says() == ["10.0.0.0/30 to n1", "web/a on n1: 10.0.0.0", "10.0.0.4/30 to n1"]


def test_waiting_pod_comes_before_a_warm_block() -> None:
    """Of the same decision, and before the spare that another host holds: the youngest one of those."""
    c = cluster("10.0.0.0/28", hosts=("n1", "n2", "n3"))
    assert list(c.blocks().values()) == ["n1", "n2", "n3"]
    pods(c, "n1", "a", "b", "c", "d", "e", "f", "g", "h", "i")
    assert [line for line in c.says() if "/30" in line] == [
        "10.0.0.12/30 to n1",
        "10.0.0.8/30 from n3",
        "10.0.0.8/30 to n1",
    ]
    assert c.blocks()["10.0.0.4/30"] == "n2"


def test_host_gets_its_warm_block_once_the_group_has_space() -> None:
    c = cluster("10.0.0.0/29", hosts=("n1", "n2"))
    pods(c, "n1", "a", "b", "c", "d", "e")
    assert [line for line in c.says() if "/30" in line] == ["10.0.0.4/30 from n2", "10.0.0.4/30 to n1"]
    gone(c, "a", "b", "c", "d")
    c.decide()
    gone(c, "e")
    assert [line for line in c.says() if "/30" in line] == ["10.0.0.4/30 from n1", "10.0.0.4/30 to n2"]


def test_number_of_warm_blocks_is_as_configured() -> None:
    c = cluster(warm_blocks=3)
    assert list(c.blocks()) == ["10.0.0.0/30", "10.0.0.4/30", "10.0.0.8/30"]


# --- the pieces ---


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 7))))
def test_the_lowest_free_address_of_a_block(steps: list[tuple[bool, int]]) -> None:
    block = Block("10.0.0.0/29", parse_prefix("10.0.0.0/29"), (1 << 8) - 1)
    model = set[int]()
    for use, offset in steps:
        (block.use if use else block.release)(offset)
        (model.add if use else model.discard)(offset)
        block.busy = block.used
        assert block.has_free_address == (len(model) < 8)
        assert not block.has_free_address or block.lowest() == min(set(range(8)) - model)


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "fill", "empty"]), st.integers(0, 9))))
def test_first_block_that_is_not_full_is_found_after_any_history(steps: list[tuple[str, int]]) -> None:
    """The hint that makes it quick is never ahead of the truth."""
    blocks = [Block(str(at), parse_prefix(f"10.0.0.{at}/32"), 1, since=at % 3) for at in range(10)]
    chain = Chain()
    for what, at in steps:
        block = blocks[at]
        if (what == "add") != (block in chain.blocks):
            if what == "add":
                chain.add(block)
            elif what == "remove":
                chain.remove(block)
        if what == "fill":
            block.busy = 1
        elif what == "empty" and block.busy:
            block.busy = 0
            if block in chain.blocks:
                chain.freed(block)
        assert chain.blocks == sorted(chain.blocks, key=lambda block: block.order)
        assert chain.first() is next((block for block in chain.blocks if block.has_free_address), None)
