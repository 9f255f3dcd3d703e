"""A map that would cut a node off its router or its log, handed to its agent by force: the node stays
reachable, tells what it has refused, and takes the correction."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from romana_bus.events import Applied, HostPlaced, NodeNetwork, Placement, PodAddress
from romana_bus.inet import covering
from tests import kernel
from tests.cni.calling import pings, sh, until
from tests.cni.deciding import GROUPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cni.node import Node

#: Of a neighbour on the node's link, and of one that nobody has.
GOOD, OTHER = "10.77.16.0/28", "10.77.17.0/28"


@pytest.fixture
def far_log(own_node: Node) -> Iterator[Node]:
    """A node whose log is at an address that only its default route leads to."""
    node = own_node
    node.log_address = node.outside.replace("198.18.", "198.20.", 1).replace("198.19.", "198.21.", 1)
    sh("ip", "addr", "add", f"{node.log_address}/32", "dev", node.uplink)
    yield node
    subprocess.run(
        ["ip", "addr", "del", f"{node.log_address}/32", "dev", node.uplink], check=False, capture_output=True
    )


def grouped(node: Node, *groups: str) -> HostPlaced:
    """This node is in these groups."""
    places = tuple(Placement(network="net", group="zone", prefix=prefix) for prefix in groups)
    return HostPlaced(node=node.name, uid=f"uid-{node.name}", addresses=(node.address,), placements=places)


def around(address: str, length: int = 24) -> str:
    """The prefix of that length which contains it."""
    return str(covering(f"{address}/{length}"))


def link_of(node: Node) -> str:
    return around(node.outside, 30)


def unreachable(node: Node) -> set[str]:
    routes = kernel.routes(node.netns, kernel.BLOCKS)
    return {route.destination for route in routes if route.kind == "unreachable"}


def refused(node: Node) -> Any:
    report = node.newest(f"node.{node.name}.routes")
    return report.refused if isinstance(report, Applied) else None


#: What the map says -> the groups of this node, and the blocks of its neighbour.
MAPS: dict[str, Callable[[Node], tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "the link": lambda node: ((link_of(node),), (link_of(node),)),
    "the router and the node": lambda node: (
        (f"{node.outside}/32", f"{node.address}/32"),
        (f"{node.outside}/32", f"{node.address}/32"),
    ),
    "the log": lambda node: ((f"{node.log_address}/32",), (f"{node.log_address}/32",)),
    "what covers the log": lambda node: (("198.20.0.0/15",), (around(node.log_address),)),
}


@pytest.mark.parametrize("what", MAPS)
def test_node_stays_reachable_whatever_the_map_takes(far_log: Node, what: str) -> None:
    node = far_log
    node.placed(node.outside, "neighbour", (GOOD,))
    node.start().until_synced()
    until(lambda: node.blocks() == {GOOD}, "the neighbour's block is routed", node.log)
    groups, blocks = MAPS[what](node)
    node.publish(grouped(node, *groups))
    node.placed(node.outside, "neighbour", (*blocks, OTHER))
    until(lambda: node.blocks() == {GOOD, OTHER}, "the harmless block is routed", node.log)
    until(lambda: (refused(node) or {}).keys() >= {*groups, *blocks}, "the others are told", node.log)
    assert pings(node.netns, node.outside)
    assert pings(node.netns, node.log_address)
    for prefix in (*groups, *blocks):
        assert prefix in node.log()
    node.restart().until_synced()  # the log has the map, and the node still reaches the log
    until(lambda: node.boots("routes"), "the map is read", node.log)
    until(lambda: node.blocks() == {GOOD, OTHER}, "nothing has changed", node.log)
    assert not unreachable(node) & {*groups}
    node.publish(grouped(node, *GROUPS))
    for block in blocks:
        node.block_released("neighbour", block)
    until(lambda: refused(node) == {}, "the correction arrives", node.log)
    assert {*GROUPS} <= unreachable(node)


def test_prefix_that_covers_the_link_is_harmless_to_it(own_node: Node) -> None:
    """Log and router are on the link, whose prefix is longer."""
    node = own_node
    node.publish(grouped(node, "198.18.0.0/15"))
    node.start().until_synced()
    until(lambda: "198.18.0.0/15" in unreachable(node), "the group is unreachable", node.log)
    assert pings(node.netns, node.outside)
    assert refused(node) in (None, {})


def test_route_that_becomes_dangerous_without_the_log_is_withdrawn(own_node: Node) -> None:
    """By a running agent, and by one that starts; and comes back when the address goes."""
    node = own_node
    node.placed(node.outside, "neighbour", (GOOD, OTHER))
    node.start().until_synced()
    until(lambda: node.blocks() == {GOOD, OTHER}, "the neighbour's blocks are routed", node.log)
    node.nats.kill()
    node.ip("addr", "add", "10.77.16.1/24", "dev", "eth0")
    until(lambda: node.blocks() == {OTHER}, "the running agent withdraws it", node.log)
    node.ip("addr", "del", "10.77.16.1/24", "dev", "eth0")
    until(lambda: node.blocks() == {GOOD, OTHER}, "it is harmless again", node.log)
    node.kill()
    node.ip("addr", "add", "10.77.16.1/24", "dev", "eth0")
    assert node.blocks() == {GOOD, OTHER}
    node.start()
    until(lambda: node.blocks() == {OTHER}, "the next agent withdraws it", node.log)
    node.ip("addr", "del", "10.77.16.1/24", "dev", "eth0")
    node.nats.start()
    until(lambda: node.blocks() == {GOOD, OTHER}, "all is as before", node.log)


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("address", "an address of this node"),
        ("outside", "a gateway of this node"),
        ("log_address", "an address at which this node reaches the log"),
    ],
)
def test_pod_gets_no_address_that_its_node_needs(far_log: Node, what: str, why: str) -> None:
    node = far_log
    node.start().until_synced()
    until(lambda: node.newest(f"node.{node.name}.network"), "it knows its network", node.log)
    address = getattr(node, what)
    pod = node.pod()
    given = PodAddress(address=address, network="net", block=f"{address}/32")
    node.publish(msgspec.structs.replace(node.assigned(pod, address), addresses=(given,)))
    node.until_read()
    node.add(pod).fails(100, f"{address} of pod default/{pod.name} is {why}")
    assert address not in node.routes()
    assert not [link for link in node.links() if link.startswith("rb")]
    assert pings(node.netns, node.outside)
    node.decided(pod, *node.fresh())
    node.until_read()
    node.added(pod)


def test_agent_reports_what_its_node_lives_on(far_log: Node) -> None:
    node = far_log
    node.start("--api-server", "192.0.2.1:6443").until_synced()

    def reported(*addresses: str) -> bool:
        report = node.newest(f"node.{node.name}.network")
        if not isinstance(report, NodeNetwork):
            return False
        reached = (set(report.reached), report.gateways)
        assert reached == ({node.log_address, "192.0.2.1"}, (node.outside,))
        return set(report.addresses) == {node.address, *addresses}

    until(reported, "it reports its network", node.log)
    assert node.newest(f"node.{node.name}.network").connected == (link_of(node),)
    pod = node.pod()
    node.decided(pod, *node.fresh())
    node.until_read()
    node.added(pod)
    node.ip("addr", "add", "192.0.2.77/32", "dev", "eth0")
    until(lambda: reported("192.0.2.77"), "the new address is reported", node.log)
    node.ip("addr", "del", "192.0.2.77/32", "dev", "eth0")
    until(reported, "and that it is gone", node.log)
