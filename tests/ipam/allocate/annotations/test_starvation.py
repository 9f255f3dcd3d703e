"""What one tenant's fixed and sticky addresses leave to the others: addresses, routes, and the time of
decisions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.ipam import Tick, decide, evolve
from romana_bus.ipam.allocate import assign, select
from tests.ipam.allocate.annotations.annotated import ADDRESS, NETWORK, STICKY, retained, single_blocks, why
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR = 3600 * SECOND


def nodes(cidr: str, count: int) -> Cluster:
    """Nodes in one group, blocks of 16."""
    return _started(topology(cidr, 28), count)


def two_networks(count: int, limits: dict[str, Any]) -> Cluster:
    """Nodes with a large network and one of 16 addresses."""
    document = topology("10.0.0.0/16", 28)
    document["networks"].append({"name": "tiny", "cidr": "10.9.0.0/28", "block_mask": 28})
    document["topologies"].append({"networks": ["tiny"], "map": [{"groups": []}]})
    for network in document["networks"]:
        network["wishes"] = limits
    return _started(document, count)


def _started(document: dict[str, Any], count: int) -> Cluster:
    c = Cluster(document)
    for number in range(count):
        c.node(f"n{number}")
    c.decide()
    return c


def test_a_sticky_pod_gets_an_ordinary_address_where_its_namespace_may_keep_none() -> None:
    """Also if it could keep one elsewhere, where nothing is free: a pod without an address helps nobody."""
    document = topology("10.0.0.0/24", 28)
    document["networks"].insert(0, {"name": "full", "cidr": "10.9.0.0/28", "block_mask": 28})
    document["topologies"].append({"networks": ["full"], "map": [{"groups": []}]})
    document["networks"][1]["wishes"] = {"max_per_namespace": 0}
    c = _started(document, 1)
    for number in range(16):
        c.pod(f"web/{number}", "n0", annotations={NETWORK: "full"})
    c.decide()
    c.pod("db/sticky", "n0", annotations={STICKY: "10m"})
    c.decide()
    assert c.denied() == {}
    assert c.addresses()["db/sticky"].startswith("10.0.0.")


def denied_in(c: Cluster, namespace: str) -> list[str]:
    return [pod for pod in c.denied() if pod.startswith(f"{namespace}/")]


# --- addresses and routes ---------------------------------------------------------------------------------


@pytest.mark.parametrize("tenants", [1, 32])
def test_fixed_addresses_in_every_block_leave_the_blocks_of_others_whole(tenants: int) -> None:
    c = nodes("10.0.0.0/20", 8)
    for number in range(256):
        address = f"10.0.{number // 16}.{number % 16 * 16 + 15}"
        c.pod(f"greedy-{number % tenants}/{number}", f"n{number % 8}", annotations={ADDRESS: address})
    c.decide()
    assert len(single_blocks(c)) <= 25  # of 256: a tenth
    assert set(c.denied().values()) == {"wish_limit"}
    for number in range(3_400):
        c.pod(f"web/{number}", f"n{number % 8}")
    c.decide()
    assert denied_in(c, "web") == []


def test_fixed_addresses_in_each_spare_block_of_a_node_open_no_more_of_them_than_others() -> None:
    """A spare block that gets an address is replaced by the next one."""
    c = nodes("10.0.0.0/20", 8)
    for number in range(256):
        node = f"n{number % 8}"
        spare = next(iter(c.state.hosts[node].idle.values()))
        c.pod(f"greedy-{number % 32}/{number}", node, annotations={ADDRESS: spare.address(5)})
        c.decide()
    assert len(c.addresses()) == len(single_blocks(c)) == 25
    for number in range(100):
        c.node(f"new-{number}")
        c.pod(f"web/{number}", f"new-{number}")
    c.decide()
    assert denied_in(c, "web") == []


def test_sticky_addresses_of_short_lived_pods_close_no_network() -> None:
    c = nodes("10.0.0.0/24", 4)
    for number in range(256):
        c.pod(f"greedy/{number}", f"n{number % 4}", annotations={STICKY: "365d"})
        c.decide()
        c.no_pod(f"greedy/{number}")
        c.decide()
        c.later(1)
        c.decide()
    assert len(retained(c)) == 16
    assert len(single_blocks(c)) <= 16
    assert max(one.until for one in retained(c)) <= c.state.now + HOUR
    c.later(30)  # the ordinary addresses of the others cool down
    c.decide()
    for number in range(192):
        c.pod(f"web/{number}", f"n{number % 4}")
    c.decide()
    assert denied_in(c, "web") == []
    c.later(3600)
    c.decide()
    assert (single_blocks(c), retained(c)) == ([], [])


# --- the time of decisions --------------------------------------------------------------------------------


def attempts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collects the pods for which an address is chosen."""
    tried: list[str] = []

    def counted(context: Any, pod: Any, host: Any) -> Any:
        tried.append(pod.key)
        return select.choose(context, pod, host)

    monkeypatch.setattr(assign, "choose", counted)
    return tried


def work_of_another_pod(c: Cluster, node: str) -> int:
    """How many functions are called for a pod that comes, goes, and whose address cools down."""
    seen = ev.PodSeen(resource_version="1000000", uid="new", namespace="web", name="new", node=node)
    gone = ev.PodGone(resource_version="1000001", uid="new", namespace="web", name="new")
    calls = [0]

    def count(_frame: Any, kind: str, _argument: Any) -> None:
        calls[0] += kind in ("call", "c_call")

    for event in (seen, gone, Tick(c.state.now + 60 * SECOND)):
        sys.setprofile(count)
        evolve(c.state, event, c.seqs["KUBE"])
        decide(c.state)
        sys.setprofile(None)
    return calls[0]


#: What 400 pods wait for -> the namespace and the annotations of each one, the code of its denial.
REQUESTS: dict[str, tuple[str, Callable[[int], dict[str, str]], str]] = {
    "addresses of others": ("db", lambda number: {ADDRESS: f"10.0.0.{number % 8}"}, "wish"),
    "addresses over the number": ("two", lambda number: {ADDRESS: f"10.0.0.{10 + number % 6}"}, "wish_limit"),
    "blocks over the share": ("db", lambda number: {ADDRESS: f"10.0.{1 + number // 200}.7"}, "wish_limit"),
    "a permission": ("db", lambda _: {STICKY: "10m"}, "wish_limit"),
    "a full network": ("db", lambda _: {NETWORK: "tiny"}, "exhausted"),
}


def waiting(kind: str, count: int) -> Cluster:
    """`count` pods wait on n0, for what the REQUESTS of this kind say."""
    c = two_networks(2, {"sticky": [], "max_per_namespace": 2, "max_broken_blocks": "0%"})
    for number in range(8):
        c.pod(f"web/{number}", "n0")
    c.decide()
    for number in range(2):
        c.pod(f"two/has-{number}", "n0", annotations={ADDRESS: f"10.0.0.{8 + number}"})
    for number in range(16):
        c.pod(f"db/has-{number}", "n0", annotations={NETWORK: "tiny"})
    c.decide()
    namespace, annotations, code = REQUESTS[kind]
    for number in range(count):
        c.pod(f"{namespace}/{number:03}", "n0", annotations=annotations(number))
    c.decide()
    assert list(c.denied().values()) == [code] * count
    return c


@pytest.mark.parametrize("node", ["n0", "n1"])
@pytest.mark.parametrize("kind", REQUESTS)
def test_a_decision_costs_the_same_however_many_pods_wait_for_something_else(
    kind: str, node: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also on the node on which the others wait (n0), in the block whose addresses they wait for; and if a
    block becomes empty (n1)."""
    alone = work_of_another_pod(waiting(kind, 0), node)
    beside = waiting(kind, 400)
    tried = attempts(monkeypatch)
    assert work_of_another_pod(beside, node) <= 1.2 * alone
    assert tried == ["web/new"]


def test_only_the_pods_that_wait_for_an_address_are_tried_when_it_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    c = nodes("10.0.0.0/16", 2)
    for number in range(8):
        c.pod(f"web/{number}", "n0")
    c.decide()
    for number in range(40):
        c.pod(f"db/{number:02}", "n0", annotations={ADDRESS: f"10.0.0.{number % 8}"})
    c.decide()
    c.no_pod("web/3")
    c.decide()
    tried = attempts(monkeypatch)
    c.later(30)
    assert c.says() == ["db/03 on n0: 10.0.0.3", *(f"db/{n} on n0: wish" for n in (11, 19, 27, 35))]
    assert set(tried) == {f"db/{n:02}" for n in (3, 11, 19, 27, 35)}
    assert why(c, "db/11") == "10.0.0.3 is db/03's"


def test_pods_that_wait_for_a_full_network_get_an_address_of_it_as_soon_as_there_is_one() -> None:
    c = waiting("a full network", 1)
    c.pod("db/elsewhere", "n1", annotations={NETWORK: "tiny"})
    free = c.addresses()["db/has-3"]
    c.no_pod("db/has-3")
    c.decide()
    c.later(30)
    assert c.says() == [f"db/000 on n0: {free}"]
    for pod in ("000", *(f"has-{number}" for number in range(16))):
        c.no_pod(f"db/{pod}")
    c.decide()
    c.later(30)
    assert c.says()[-1] == "db/elsewhere on n1: 10.9.0.0"
