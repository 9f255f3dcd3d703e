"""Exhaustion: which networks, groups and blocks of nodes are full, and how many pods wait because of it.

Computed from the facts and decisions of the state alone, so it is right before the first decision too."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import parse_prefix
from romana_bus.ipam.model.blocks import ALL
from romana_bus.ipam.model.nodes import pod_order
from romana_bus.ipam.model.usage import (
    BLOCK,
    GROUP,
    NETWORK,
    exhausted_scope,
    has_free_address,
    has_whole_block,
    usage_index,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.ranges import Ranges
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.model.usage import Usage, UsageByFamily, UsageIndex
    from romana_bus.ipam.topology.tree import Leaf

#: The code of a denial because everything is in use.
EXHAUSTED = "exhausted"


class Full(msgspec.Struct, kw_only=True):
    """Something that is full. `scope`: `network` (none of its groups has a free address), `group` (it has no
    free address), or `block` (the group has free addresses, but no whole block: so `nodes`, whose own blocks
    are full, cannot get any). `free`, `cooling`: addresses. `waiting`: pods without an address because of
    it."""

    scope: str
    network: str
    group: str
    prefix: str
    free: int
    cooling: int
    nodes: tuple[str, ...] = ()
    waiting: int = 0


class _Group:
    """A leaf group: its usage, whether a block can be opened in it, and which hosts have a free address.

    `stuck`: the hosts whose blocks are full while no block can be opened."""

    def __init__(self, leaf: Leaf, usage: Usage, blocks: list[Block], reserved: Ranges) -> None:
        self.leaf, self.usage, self.reserved = leaf, usage, reserved
        self.waiting = 0
        self.stuck: set[str] = set()
        owned = () if (opens := has_whole_block(leaf, blocks, reserved)) else blocks
        not_full = [block for block in owned if block.node and has_free_address(block, reserved)]
        self.opens = opens or any(b.idle and b.prefix.length == leaf.block_length for b in not_full)
        self.owners = {block.node for block in not_full}

    @property
    def full(self) -> bool:
        """Whether it has no free address."""
        return self.usage.free <= 0

    @property
    def scope(self) -> str:
        """What is exhausted here: GROUP, BLOCK, or ''."""
        return "" if self.opens and not self.full else GROUP if self.full else BLOCK

    def stops(self, host: Host, tenant: str, segment: str) -> bool:
        """Whether a pod on this host finds no address here. It cannot use the blocks of other tenants."""
        if self.full or self.opens:
            return self.full
        prefix = self.leaf.prefix
        return not any(
            (block.idle or (block.tenant in (ALL, tenant) and block.segment in (ALL, segment)))
            and has_free_address(block, self.reserved)
            for block in host.blocks.values()
            if prefix.contains(block.prefix)
        )

    def view(self) -> Full:
        leaf = self.leaf
        return Full(
            scope=self.scope, network=leaf.network, group=leaf.group, prefix=str(leaf.prefix),
            free=self.usage.free, cooling=self.usage.cooling, waiting=self.waiting,
            nodes=tuple(sorted(self.stuck)) if self.scope == BLOCK else (),
        )  # fmt: skip


class Exhaustion:
    """`full`: all that is full, in the order of the topology, a network before its groups."""

    def __init__(self, state: State, index: UsageByFamily | None = None) -> None:
        self._state = state
        self._places: dict[str, int] = {}
        index = index or usage_index(state)
        cooling = _cooling_blocks(state)
        self.groups = [
            _group(state, leaf, index[leaf.prefix.width], cooling) for leaf in state.topology.leaves
        ]
        self._waiting_in: Counter[str] = Counter()
        for host in state.hosts.values():
            if host.placed:
                self._count_waiting(host)
        self.full = tuple(self._find())

    def _count_waiting(self, host: Host) -> None:
        """Counts the pods that wait on the host, and notes it where its blocks are full."""
        for number in self._leaves(host).values():
            group = self.groups[number]
            if group.scope == BLOCK and host.seen and host.name not in group.owners:
                group.stuck.add(host.name)
        for record in [record for record in host.records.values() if record.code == EXHAUSTED]:
            full_groups = [group for groups in self._exhausted_families(host, record) for group in groups]
            for group in full_groups:
                group.waiting += 1
                if group.scope == BLOCK:
                    group.stuck.add(host.name)
            self._waiting_in.update({group.leaf.network for group in full_groups})

    def _leaves(self, host: Host) -> dict[str, int]:
        """Network -> the number of the leaf group that the host is placed in."""
        numbers: dict[str, int] = {}
        for placement in host.placements:
            if placement.prefix not in self._places:
                leaf = self._state.topology.leaf_of(parse_prefix(placement.prefix))
                self._places[placement.prefix] = leaf.number if leaf else -1
            number = self._places[placement.prefix]
            if number >= 0:
                numbers.setdefault(self.groups[number].leaf.network, number)
        return numbers

    def _exhausted_families(self, host: Host, record: Record) -> list[list[_Group]]:
        """The address families in which no group has an address for this pod, each with its groups."""
        leaves, networks = self._leaves(host), self._state.topology.networks
        tenant, pod = pod_order(record.key)[0], self._state.pods.get(record.key)
        families: dict[int, list[_Group]] = {}
        for network in (networks[place] for place in self._state.topology.order(tenant)):
            if network.name in leaves:
                group = self.groups[leaves[network.name]]
                families.setdefault(network.prefix.width, []).append(group)
        segment = pod.segment if pod else ""
        return [
            groups
            for groups in families.values()
            if all(group.stops(host, tenant, segment) for group in groups)
        ]

    def scope(self, host: Host, record: Record) -> str:
        """The scope of a denial: what is exhausted for the pod now; '' where it can get an address."""
        families = [[group.leaf for group in groups] for groups in self._exhausted_families(host, record)]
        return exhausted_scope(self._state.topology, families, self._free)

    def _free(self, leaf: Leaf) -> int:
        return self.groups[leaf.number].usage.free

    def is_full(self, network: str) -> bool:
        """Whether the network has groups, and no free address in any of them."""
        numbers = self._state.topology.networks[self._state.topology.place[network]].numbers
        return bool(numbers) and all(self.groups[number].full for number in numbers)

    def _find(self) -> Iterator[Full]:
        for network in self._state.topology.networks:
            groups = [self.groups[number] for number in network.numbers]
            if self.is_full(network.name):
                yield Full(
                    scope=NETWORK, network=network.name, group="", prefix=str(network.prefix), free=0,
                    cooling=sum(group.usage.cooling for group in groups),
                    waiting=self._waiting_in[network.name],
                )  # fmt: skip
            yield from (group.view() for group in groups if group.scope)


def _group(state: State, leaf: Leaf, index: UsageIndex, cooling: list[Block]) -> _Group:
    blocks = index.within(leaf.prefix)
    if more := [block for block in cooling if block.prefix.overlaps(leaf.prefix)]:
        blocks = sorted(blocks + more, key=lambda block: block.prefix)
    return _Group(leaf, index.usage(leaf.prefix), blocks, state.reserved_in(leaf.prefix.width))


def _cooling_blocks(state: State) -> list[Block]:
    """Empty blocks that cool down: their host is gone, and others may not have them yet."""
    return [b for b in state.blocks.values() if not b.node and b.idle and b.free_at > state.now]
