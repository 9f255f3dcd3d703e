"""The demonstration: starts pods in every zone, and counts the routes that change in every kernel.

The promise: a pod that starts or stops changes no route outside its own subnet. Inside it, a new block
changes one route on each other node, and a pod changes none.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.events import IPAM
from romana_bus.inet import covering, parse_prefix
from romana_bus.lab.cluster import block_log, waiting
from romana_bus.lab.inspect import route_counter, workloads
from romana_bus.lab.kubeapi.resources import PODS
from romana_bus.lab.kubelet import pods
from romana_bus.lab.machine import rtnl
from romana_bus.netlink.constants import (
    BLOCK_ROUTES,
    TABLE_MAIN,
    UNREACHABLE,
)

if TYPE_CHECKING:
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.events import BlockAssigned
    from romana_bus.inet import Prefix
    from romana_bus.kubernetes.client import KubeClient
    from romana_bus.lab.cluster.up import Step
    from romana_bus.lab.inspect.route_counter import Tally
    from romana_bus.lab.machine.directory import Lab
    from romana_bus.lab.machine.rtnl import Kernel
    from romana_bus.lab.spec import Node

#: Pods per node in each round; rounds are repeated until a block is assigned. Blocks have eight addresses and
#: each node has one warm block, so at first one round is enough; later there are blocks with free addresses.
PODS_PER_NODE, _ROUNDS = 3, 6
#: By this label a second demonstration finds the pods of the first.
_LABEL = {"romana-bus.io/demo": "pod"}

Json = dict[str, Any]


class Outcome(NamedTuple):
    """The result of a demonstration. `blocks`: node -> its blocks now. `opened`: the blocks that were
    assigned during it. `router`, `nodes`: counts of changed routes. `expected`: node -> the number of blocks
    that were assigned to other nodes of its subnet."""

    pods: list[Json]
    blocks: dict[str, list[str]]
    opened: list[str]
    router: Tally
    nodes: dict[str, Tally]
    expected: dict[str, int]

    @property
    def outside(self) -> int:
        return sum(tally.outside for tally in (self.router, *self.nodes.values()))

    @property
    def as_promised(self) -> bool:
        """Whether no more routes changed than promised. Adjacent blocks may share one aggregated route."""
        return not self.outside and all(
            tally.inside <= self.expected[name] and bool(tally.inside) == bool(self.expected[name])
            for name, tally in self.nodes.items()
        )


async def demonstrate(lab: Lab, client: KubeClient, store: JetStream, step: Step) -> Outcome:
    """Run the demonstration. Raises Failed."""
    spec = lab.spec
    await _clear(client)
    before = (await store.tail(IPAM)).last
    with route_counter.Monitors(
        [spec.router, *(spec.namespace(node.name) for node in spec.nodes)]
    ) as monitors:
        opened: list[BlockAssigned] = []
        made: list[Json] = []
        while not opened and len(made) < _ROUNDS * PODS_PER_NODE * len(spec.nodes):
            with step(f"{PODS_PER_NODE * len(spec.nodes)}{' more' * bool(made)} pods in {spec.zones} zones"):
                made += await _run_pods(lab, client, len(made))
            opened = await block_log.opened_since(store, before)
        with step("routes to the blocks that they opened"):
            await _until_routed(lab, opened)
        changes = monitors.take()
    return Outcome(
        pods=made,
        blocks=await block_log.blocks(store),
        opened=[block.block for block in opened],
        router=route_counter.tally(changes[spec.router], ()),
        nodes={
            node.name: route_counter.tally(changes[spec.namespace(node.name)], _subnet(lab, node))
            for node in spec.nodes
        },
        expected={node.name: len(_elsewhere(lab, node, opened)) for node in spec.nodes},
    )


async def _clear(client: KubeClient) -> None:
    """Delete the pods of an earlier demonstration."""
    selector = ",".join(f"{key}={value}" for key, value in _LABEL.items())
    await workloads.delete(client, await client.objects(PODS, label_selector=selector))


async def _run_pods(lab: Lab, client: KubeClient, there: int) -> list[Json]:
    """Run one round of pods. `there`: the number of pods from earlier rounds."""
    first = there // lab.spec.zones + 1
    metadata = {"namespace": "default", "labels": _LABEL}
    wanted = [
        workloads.pod_object(f"demo-{zone.name[-1]}{number}", metadata, zone.name)
        for zone in lab.spec.zone_list
        for number in range(first, first + PODS_PER_NODE * len(zone.nodes))
    ]
    await workloads.create(client, wanted)
    return await workloads.until_running(client, [pods.key(pod) for pod in wanted], waiting.WITHIN)


async def _until_routed(lab: Lab, opened: list[BlockAssigned]) -> None:
    """Wait until every node has a route to each new block of the other nodes in its zone. Raises Failed."""

    def all_are() -> bool:
        return all(
            _routed(lab.spec.namespace(node.name), _elsewhere(lab, node, opened)) for node in lab.spec.nodes
        )

    await waiting.until(lab, "every node to have a route to each block in its subnet", all_are)


def _elsewhere(lab: Lab, node: Node, opened: list[BlockAssigned]) -> list[Prefix]:
    """The blocks that were assigned to the other nodes of its zone."""
    others = {other.name for other in lab.spec.zone(node.zone).nodes} - {node.name}
    return [parse_prefix(block.block) for block in opened if block.node in others]


def _routed(namespace: str, blocks: list[Prefix]) -> bool:
    """Whether the namespace has our routes to all of the blocks. Adjacent blocks may share one aggregated
    route."""
    if not blocks:
        return True
    installed = rtnl.within(namespace, _block_routes)
    return all(any(route.contains(block) for route in installed) for block in blocks)


def _block_routes(kernel: Kernel) -> list[Prefix]:
    return [
        _destination(rtnl.destination(route))
        for family in (AF_INET, AF_INET6)
        for route in kernel.get_routes(family=family, table=TABLE_MAIN)
        if route["proto"] == BLOCK_ROUTES and route["type"] != UNREACHABLE
    ]


def _destination(text: str) -> Prefix:
    return covering(text if "/" in text else f"{text}/{128 if ':' in text else 32}")


def _subnet(lab: Lab, node: Node) -> list[Prefix]:
    return [parse_prefix(prefix) for prefix in lab.prefixes().get(node.zone, ())]
