"""What follows from the state and would be slow to find each time: which leaf a block is in, each
leaf's free room, each owner's blocks in order, and what changed since the last decision.

It is thrown away when the topology or a reserved range changes, and built anew from the whole state:
then everything counts as changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import V4, V6, parse_prefix
from romana_bus.ipam.model.blocks import Block, Chain, chain_key
from romana_bus.ipam.model.free_space import FreeSpace
from romana_bus.ipam.model.nodes import misfit
from romana_bus.ipam.model.sandboxes import bearer

if TYPE_CHECKING:
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.state import State


Entry = tuple[str, str]


class Dirty:
    """What the next decision has to look at.

    `records`: entries, (node, pod). `hosts`: where they are placed. `stocks`: their blocks without addresses.
    `retry`: hosts whose waiting pods may find something now. `rooms`: leaves that have more room.
    """

    def __init__(self) -> None:
        self.records: set[Entry] = set()
        self.hosts: set[str] = set()
        self.stocks: set[str] = set()
        self.retry: set[str] = set()
        self.rooms: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self.records or self.hosts or self.stocks or self.retry or self.rooms)


class Index:
    """`families`: which spaces a pod's addresses come from, by (networks of its tenant, leaves of its
    host). `stale`: blocks overlap, so that room cannot be told any more without building it anew."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.topology = state.topology
        self.spaces = [FreeSpace(leaf) for leaf in self.topology.leaves]
        self.families: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[FreeSpace, ...], ...]] = {}
        self._shared: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.dirty = Dirty()
        self.stale = False
        for host in state.hosts.values():
            host.chains, host.idle, host.leaves = {}, {}, ()
            host.waiting = {key for key, record in host.records.items() if record.code}
            self.seat(host)
        for block in state.blocks.values():
            block.taken = block.spare = False
            block.chain = None
            self.locate(block)
            if block.node:
                self.attach(block)
            self.settle(block)
            self.remember(block)
        if any(space.tangled for space in self.spaces):
            self._part()
        self.stale = False
        self._everything()

    def _everything(self) -> None:
        state, dirty = self.state, self.dirty
        dirty.hosts.update(state.hosts)
        dirty.stocks.update(state.hosts)
        for host in state.hosts.values():
            for key, record in host.records.items():
                pod = bearer(state, host.name, key)
                over = misfit(host, record, pod) or state.ended(host, record)
                if record.code or (record.held and over):
                    dirty.records.add((host.name, key))
        for pod in state.pods.values():
            if not pod.unfit:
                home = state.hosts.get(pod.node)
                found = home.records.get(pod.key) if home else None
                if found is None or not found.held or found.segment != pod.segment:
                    dirty.records.add((pod.node, pod.key))
        for key, nodes in state.sandboxes.items():
            dirty.records.update((node, key) for node in nodes)

    def _part(self) -> None:
        """Blocks overlap. That is no work of ours, but a store may bring it; then the larger one is shut
        where the smaller one is, so that no address has two owners."""
        around: list[Block] = []
        for block in sorted((b for b in self.state.blocks.values() if b.taken), key=lambda b: b.prefix):
            while around and not around[-1].prefix.contains(block.prefix):
                around.pop()
            for outer in around:
                part = block.full << (block.prefix.base - outer.prefix.base)
                outer.reserved |= part
                outer.busy |= part
            around.append(block)

    def remember(self, block: Block) -> None:
        """When it was released, if it is free room."""
        if not block.taken and block.leaf >= 0:
            self.spaces[block.leaf].remember(block)

    # --- hosts ---

    def seat(self, host: Host) -> None:
        """Count the host in the leaves that its placements name, by where those prefixes are now."""
        for number in host.leaves:
            if number >= 0:
                self.spaces[number].unseat(host.name)
        leaves = [-1] * len(self.topology.networks)
        for placement in host.placed.placements if host.placed else ():
            leaf = self.topology.leaf_of(parse_prefix(placement.prefix))
            if leaf and leaves[self.topology.place[leaf.network]] < 0:
                leaves[self.topology.place[leaf.network]] = leaf.number
                self.spaces[leaf.number].members.add(host.name)
        host.leaves = self._shared.setdefault(tuple(leaves), tuple(leaves))
        host.offers = self.offers(self.topology.everyones, host.leaves)
        self.wait(host, any(host.records[key].code == "wish" for key in host.waiting))

    def offers(self, order: tuple[int, ...], leaves: tuple[int, ...]) -> tuple[tuple[FreeSpace, ...], ...]:
        """For each address family that networks offer on a host in these leaves: the groups in order."""
        known = self.families.get((order, leaves))
        if known is None:
            spaces = [self.spaces[leaves[at]] for at in order if leaves[at] >= 0]
            split = [tuple(s for s in spaces if s.leaf.prefix.width == width) for width in (V4, V6)]
            known = self.families[order, leaves] = tuple(offering for offering in split if offering)
        return known

    def wait(self, host: Host, wishing: bool) -> None:
        """`wishing`: for one address, and not just for any."""
        for number in host.leaves if host.waiting else ():
            if number >= 0:
                self.spaces[number].waiting.add(host.name)
                if wishing:
                    self.spaces[number].wishing.add(host.name)

    # --- blocks ---

    def locate(self, block: Block) -> None:
        leaf = self.topology.leaf_of(block.prefix)
        block.leaf = leaf.number if leaf else -1
        reserved = self.state.reserved_in(block.prefix.width)
        block.reserved = reserved.mask(block.prefix.base, block.prefix.end)
        block.busy = block.used | block.cool | block.reserved

    def attach(self, block: Block) -> None:
        """The block has become its host's, or its owner's."""
        if block.leaf >= 0 and self.spaces[block.leaf].wishing:
            self._look_at_wishes(self.spaces[block.leaf])
        host = self.state.hosts[block.node]
        key = chain_key(block.leaf, block.tenant, block.segment)
        block.chain = host.chains.get(key) or host.chains.setdefault(key, Chain())
        block.chain.add(block)
        if host.waiting:
            self.dirty.retry.add(host.name)
        if block.idle:
            self._idle(host, block)

    def detach(self, block: Block) -> None:
        host = self.state.hosts[block.node]
        assert block.chain is not None
        block.chain.remove(block)
        if not block.chain.blocks:
            del host.chains[chain_key(block.leaf, block.tenant, block.segment)]
        block.chain = None
        if block.spare:
            self._busy(host, block)

    def touched(self, block: Block, before: int) -> None:
        """Addresses of the block were used, or given back; `before`: its busy bits until then."""
        leaf, node = block.leaf, block.node
        if leaf >= 0 and self.spaces[leaf].wishing:
            self._look_at_wishes(self.spaces[leaf])
        if not node:
            self.settle(block)
            return
        if before & ~block.busy:
            if block.chain is not None:
                block.chain.has_room(block)
            self.dirty.retry.add(node)
        idle = not (block.used or block.cool)
        if idle == block.spare:
            return
        host = self.state.hosts[node]
        if not idle:
            self._busy(host, block)
            return
        self._idle(host, block)
        self.dirty.hosts.add(node)
        self.dirty.stocks.add(node)
        if leaf >= 0:
            self.dirty.rooms.add(leaf)

    def _look_at_wishes(self, space: FreeSpace) -> None:
        """Whoever waits for one address hears of all that happens around it: it may be told why anew."""
        hosts = self.state.hosts
        space.wishing = {name for name in space.wishing if name in hosts and hosts[name].waiting}
        self.dirty.retry |= space.wishing

    def _idle(self, host: Host, block: Block) -> None:
        block.spare = True
        host.idle[block.text] = block
        if block.leaf >= 0:
            self.spaces[block.leaf].idle[block.text] = block

    def _busy(self, host: Host, block: Block) -> None:
        self.dirty.stocks.add(host.name)
        block.spare = False
        del host.idle[block.text]
        if block.leaf >= 0:
            del self.spaces[block.leaf].idle[block.text]

    def settle(self, block: Block) -> None:
        """Take the block out of its leaf's free room, or give it back."""
        taken = bool(block.node) or not block.idle or block.free_at > self.state.now
        if taken == block.taken:
            return
        block.taken = taken
        leaves = [block.leaf] if block.leaf >= 0 else [
            leaf.number for leaf in self.topology.overlapping(block.prefix)
        ]  # fmt: skip
        for number in leaves:
            space = self.spaces[number]
            if taken:
                space.take(block.prefix)
                self.stale |= space.tangled
            elif space.tangled:
                self.stale = True
            else:
                space.give(block)
                self.dirty.rooms.add(number)
                self.dirty.stocks |= space.short
                space.short.clear()
