"""What is full: networks, groups, and the blocks of nodes that can open no other one. And who waits for it.

Told from the state alone, whether anything was ever decided on it or not. Nothing is remembered: what has
room again is not full any more."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import parse_prefix
from romana_bus.ipam.model.blocks import ALL
from romana_bus.ipam.model.nodes import pod_order
from romana_bus.ipam.model.usage import BLOCK, GROUP, NETWORK, has_free_address, has_whole_block, usage_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.ranges import Ranges
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.model.usage import Usage, UsageByFamily, UsageIndex
    from romana_bus.ipam.topology.tree import Leaf

#: The code of a denial for want of room.
EXHAUSTED = "exhausted"


class Full(msgspec.Struct, kw_only=True):
    """`scope`: `network`: none of its groups has a free address. `group`: it has none. `block`: it has
    some, but no whole block any more, so that `nodes`, whose own blocks are full, can get none of them.
    `free`, `cooling`: addresses; `waiting`: pods that have no address because of it."""

    scope: str
    network: str
    group: str
    prefix: str
    free: int
    cooling: int
    nodes: tuple[str, ...] = ()
    waiting: int = 0


class _Group:
    """One leaf: its room, whether a host can open a block in it, and which hosts would have to."""

    def __init__(self, leaf: Leaf, usage: Usage, blocks: list[Block], reserved: Ranges) -> None:
        self.leaf, self.usage, self.reserved = leaf, usage, reserved
        self.waiting = 0
        self.stuck: set[str] = set()
        owned = () if (opens := has_whole_block(leaf, blocks, reserved)) else blocks
        roomy = [block for block in owned if block.node and has_free_address(block, reserved)]
        self.opens = opens or any(b.idle and b.prefix.length == leaf.block_length for b in roomy)
        self.owners = {block.node for block in roomy}

    @property
    def full(self) -> bool:
        return self.usage.free <= 0

    @property
    def says(self) -> str:
        return "" if self.opens and not self.full else GROUP if self.full else BLOCK

    def stops(self, host: Host, tenant: str, segment: str) -> bool:
        """Nothing here for a pod on this host: another tenant's blocks are no room for it."""
        if self.full or self.opens:
            return self.full
        inside = self.leaf.prefix
        return not any(
            (block.idle or (block.tenant in (ALL, tenant) and block.segment in (ALL, segment)))
            and has_free_address(block, self.reserved)
            for block in host.blocks.values()
            if inside.contains(block.prefix)
        )

    def view(self) -> Full:
        leaf = self.leaf
        return Full(
            scope=self.says, network=leaf.network, group=leaf.group, prefix=str(leaf.prefix),
            free=self.usage.free, cooling=self.usage.cooling, waiting=self.waiting,
            nodes=tuple(sorted(self.stuck)) if self.says == BLOCK else (),
        )  # fmt: skip


class Exhaustion:
    """`found`: what is full, networks first, then their groups, in the topology's order."""

    def __init__(self, state: State, index: UsageByFamily | None = None) -> None:
        self._state = state
        self._places: dict[str, int] = {}
        index = index or usage_index(state)
        resting = _resting(state)
        self.groups = [
            _group(state, leaf, index[leaf.prefix.width], resting) for leaf in state.topology.leaves
        ]
        self._waiting_in: Counter[str] = Counter()
        for host in state.hosts.values():
            if host.placed:
                self._look_at(host)
        self.found = tuple(self._found())

    def _look_at(self, host: Host) -> None:
        """The pods that wait on it, and whether its own blocks are full."""
        for number in self._leaves(host).values():
            group = self.groups[number]
            if group.says == BLOCK and host.seen and host.name not in group.owners:
                group.stuck.add(host.name)
        for record in [record for record in host.records.values() if record.code == EXHAUSTED]:
            stopped = self._stopped_by(host, record)
            for group in stopped:
                group.waiting += 1
                if group.says == BLOCK:
                    group.stuck.add(host.name)
            self._waiting_in.update({group.leaf.network for group in stopped})

    def _leaves(self, host: Host) -> dict[str, int]:
        """Network -> the number of the host's group in it."""
        found: dict[str, int] = {}
        for placement in host.placed.placements if host.placed else ():
            if placement.prefix not in self._places:
                leaf = self._state.topology.leaf_of(parse_prefix(placement.prefix))
                self._places[placement.prefix] = leaf.number if leaf else -1
            number = self._places[placement.prefix]
            if number >= 0:
                found.setdefault(self.groups[number].leaf.network, number)
        return found

    def _stopped_by(self, host: Host, record: Record) -> list[_Group]:
        """The groups that have nothing for this pod, in the families in which none has."""
        leaves, networks = self._leaves(host), self._state.topology.networks
        tenant, pod = pod_order(record.key)[0], self._state.pods.get(record.key)
        offered: dict[int, list[_Group]] = {}
        for at in self._state.topology.order(tenant):
            if networks[at].name in leaves:
                group = self.groups[leaves[networks[at].name]]
                offered.setdefault(networks[at].prefix.width, []).append(group)
        segment = pod.segment if pod else ""
        return [
            group
            for groups in offered.values()
            if all(group.stops(host, tenant, segment) for group in groups)
            for group in groups
        ]

    def scope(self, host: Host, record: Record) -> str:
        """What a pod waits for that was denied as exhausted; '' where there is room by now."""
        stopped = self._stopped_by(host, record)
        if not stopped or any(not group.full for group in stopped):
            return BLOCK if stopped else ""
        return NETWORK if all(self.full(group.leaf.network) for group in stopped) else GROUP

    def full(self, network: str) -> bool:
        """A network that has groups, and not one free address in any of them."""
        numbers = self._state.topology.networks[self._state.topology.place[network]].numbers
        return bool(numbers) and all(self.groups[number].full for number in numbers)

    def _found(self) -> Iterator[Full]:
        for network in self._state.topology.networks:
            groups = [self.groups[number] for number in network.numbers]
            if self.full(network.name):
                yield Full(
                    scope=NETWORK, network=network.name, group="", prefix=str(network.prefix), free=0,
                    cooling=sum(group.usage.cooling for group in groups),
                    waiting=self._waiting_in[network.name],
                )  # fmt: skip
            yield from (group.view() for group in groups if group.says)


def _group(state: State, leaf: Leaf, index: UsageIndex, resting: list[Block]) -> _Group:
    blocks = index.within(leaf.prefix)
    if more := [block for block in resting if block.prefix.overlaps(leaf.prefix)]:
        blocks = sorted(blocks + more, key=lambda block: block.prefix)
    return _Group(leaf, index.usage(leaf.prefix), blocks, state.reserved_in(leaf.prefix.width))


def _resting(state: State) -> list[Block]:
    """Blocks without an address that are nobody's yet: their host is gone, and they cool."""
    return [b for b in state.blocks.values() if not b.node and b.idle and b.free_at > state.now]
