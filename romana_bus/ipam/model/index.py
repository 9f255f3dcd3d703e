"""The index of the state: each block's leaf, each leaf's free space, each owner's blocks, and what changed.

It follows from the rest of the state, and is kept because it would be slow to compute for each decision. It
is discarded when the topology or a reserved range changes, and rebuilt from the whole state: then everything
counts as changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import V4, V6, parse_prefix
from romana_bus.ipam.model.blocks import Block, Chain, chain_key
from romana_bus.ipam.model.free_space import FreeSpace
from romana_bus.ipam.model.nodes import misfit
from romana_bus.ipam.model.pinned import PinnedUsage, has_excess
from romana_bus.ipam.model.records import NOTHING
from romana_bus.ipam.model.sandboxes import bearer
from romana_bus.ipam.model.state import Dirty
from romana_bus.ipam.model.waiting import ADDRESS, BLOCK, ROOM, Waiting

if TYPE_CHECKING:
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Cooling, Record
    from romana_bus.ipam.model.state import State


class Index:
    """`spaces`: the free space of each leaf, by its number. `families`: the spaces that a pod's addresses
    come from, by (networks of its tenant, leaves of its host). `waiting`: the pods that
    were denied an address. `pinned`: the use of fixed and sticky addresses. `stale`: blocks overlap, so the
    free space is right again only after a rebuild."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.topology = state.topology
        self.spaces = [FreeSpace(leaf) for leaf in self.topology.leaves]
        self.families: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[tuple[FreeSpace, ...], ...]] = {}
        self._shared: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.dirty = Dirty()
        self.waiting = Waiting(self.dirty.retry)
        self.pinned = PinnedUsage(self.topology, self.waiting)
        self.stale = False
        for host in state.hosts.values():
            host.chains, host.idle, host.leaves = {}, {}, ()
            for key, record in host.records.items():
                if record.rest.code:
                    self.waiting.deny(host.name, key)
            self.place_host(host)
        for block in state.blocks.values():
            block.taken = block.spare = False
            block.chain = None
            self.locate(block)
            if block.node:
                self.attach(block)
            self.update_free(block)
            self.remember(block)
        if any(space.overlapping for space in self.spaces):
            self._close_overlaps()
        for host in state.hosts.values():
            for record in host.records.values():
                self.pinned.count(record, 1)
        self.stale = False
        self._mark_everything()

    def _mark_everything(self) -> None:
        state, dirty = self.state, self.dirty
        dirty.hosts.update(state.hosts)
        dirty.spares.update(state.hosts)
        for host in state.hosts.values():
            for key, record in host.records.items():
                pod = bearer(state, host.name, key)
                ends = misfit(host, record, pod) or state.ended(host, record)
                if record.code or (record.held and ends) or has_excess(state, record):
                    dirty.records.add((host.name, key))
        for pod in state.pods.values():
            if not pod.unfit:
                node = state.hosts.get(pod.node)
                known = node.records.get(pod.key) if node else None
                if known is None or not known.held or known.segment != pod.segment:
                    dirty.records.add((pod.node, pod.key))
        for key, nodes in state.sandboxes.items():
            dirty.records.update((node, key) for node in nodes)

    def _close_overlaps(self) -> None:
        """Reserves the part of a block that a smaller block covers, so that no address has two owners."""
        # IPAM itself opens no block inside another one, but a restored store may contain such blocks.
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
        """Adds a block that is free to the released ones of its leaf."""
        if not block.taken and block.leaf >= 0:
            self.spaces[block.leaf].remember(block)

    def forget(self, before: int) -> None:
        """Forgets hosts that are gone, and blocks that were released before `before` (µs)."""
        for space in self.spaces:
            space.forget(before, self.state.hosts)

    # --- hosts ---

    def place_host(self, host: Host) -> None:
        """Makes the host a member of the leaves that its placements name."""
        for number in host.leaves:
            if number >= 0:
                self.spaces[number].remove_member(host.name)
        leaves = [-1] * len(self.topology.networks)
        for placement in host.placements:
            leaf = self.topology.leaf_of(parse_prefix(placement.prefix))
            if leaf and leaves[self.topology.place[leaf.network]] < 0:
                leaves[self.topology.place[leaf.network]] = leaf.number
                self.spaces[leaf.number].members.add(host.name)
        host.leaves = self._shared.setdefault(tuple(leaves), tuple(leaves))
        host.spaces = self.spaces_for(self.topology.everyones, host.leaves)
        self.waiting.node_changed(host.name)

    def spaces_for(
        self, order: tuple[int, ...], leaves: tuple[int, ...]
    ) -> tuple[tuple[FreeSpace, ...], ...]:
        """For each address family that these networks have on a host in these leaves: its groups, in
        order."""
        known = self.families.get((order, leaves))
        if known is None:
            spaces = [self.spaces[leaves[place]] for place in order if leaves[place] >= 0]
            split = [tuple(s for s in spaces if s.leaf.prefix.width == width) for width in (V4, V6)]
            known = self.families[order, leaves] = tuple(family for family in split if family)
        return known

    # --- blocks ---

    def locate(self, block: Block) -> None:
        """Sets the block's leaf and its reserved addresses."""
        leaf = self.topology.leaf_of(block.prefix)
        block.leaf = leaf.number if leaf else -1
        reserved = self.state.reserved_in(block.prefix.width)
        block.reserved = reserved.mask(block.prefix.base, block.prefix.end)
        block.busy = block.used | block.cool | block.reserved

    def attach(self, block: Block) -> None:
        """Puts the block into the chain of its owner."""
        self.waiting.block_changed(block.prefix)
        host = self.state.hosts[block.node]
        key = chain_key(block.leaf, block.tenant, block.segment)
        block.chain = host.chains.get(key) or host.chains.setdefault(key, Chain())
        block.chain.add(block)
        self.waiting.changed((ROOM, host.name, block.leaf))
        if block.idle:
            self._idle(host, block)

    def detach(self, block: Block) -> None:
        """Takes the block out of its chain: its host or its owner changes."""
        self.waiting.block_changed(block.prefix)
        host = self.state.hosts[block.node]
        assert block.chain is not None
        block.chain.remove(block)
        if not block.chain.blocks:
            del host.chains[chain_key(block.leaf, block.tenant, block.segment)]
        block.chain = None
        if block.spare:
            self._busy(host, block)

    def touched(self, block: Block, before: int) -> None:
        """Addresses of the block were assigned or released. `before`: its busy bits until then."""
        leaf, node = block.leaf, block.node
        if not node:
            self.update_free(block)
            return
        if before & ~block.busy:
            if block.chain is not None:
                block.chain.freed(block)
            if self.waiting.targets:
                self.waiting.changed((ROOM, node, leaf))
        idle = not (block.used or block.cool)
        if idle == block.spare:
            return
        self.waiting.block_changed(block.prefix)
        host = self.state.hosts[node]
        if not idle:
            self._busy(host, block)
            return
        self._idle(host, block)
        self.dirty.hosts.add(node)
        self.dirty.spares.add(node)
        self.waiting.changed((BLOCK, "", leaf))

    def replaced(self, host: Host, old: Record | None, new: Record) -> None:
        """A record of the host was replaced: what it had no longer counts."""
        if old is not None and old.rest is not NOTHING:
            self.pinned.count(old, -1)
            if old.rest.code and not new.rest.code:
                self.waiting.end_denial(host.name, old.key)
        if new.rest is not NOTHING:
            self.pinned.count(new, 1)
            if new.rest.code:
                self.waiting.deny(host.name, new.key)
        if self.waiting.addresses:
            for record in (old, new) if old is not None else (new,):
                self.waiting.record_changed(record)

    def cooled(self, key: str, cooling: Cooling) -> None:
        """An address has cooled down that the pod's name released."""
        if cooling.kept:
            self.pinned.uncount(key, cooling.block.leaf)
        if self.waiting.addresses:
            self.waiting.changed((ADDRESS, *cooling.numeric))

    def kept_changed(self, key: str) -> None:
        """A node retains an address for the pod's name, or no longer does: the pod may wait elsewhere."""
        pod, nodes = self.state.pods.get(key), self.state.sandboxes.get(key, ())
        self.dirty.retry.update((node, key) for node in (*nodes, *((pod.node,) if pod else ())))

    def _idle(self, host: Host, block: Block) -> None:
        block.spare = True
        host.idle[block.text] = block
        if block.leaf >= 0:
            self.spaces[block.leaf].idle[block.text] = block

    def _busy(self, host: Host, block: Block) -> None:
        self.dirty.spares.add(host.name)
        block.spare = False
        del host.idle[block.text]
        if block.leaf >= 0:
            del self.spaces[block.leaf].idle[block.text]

    def update_free(self, block: Block) -> None:
        """Takes the block out of the free space of its leaf, or gives it back."""
        taken = block.is_taken(self.state.now)
        if taken == block.taken:
            return
        block.taken = taken
        self.waiting.block_changed(block.prefix)
        if block.leaf >= 0 and block.prefix.size == 1:
            self.pinned.break_up(block, taken)
        leaves = [block.leaf] if block.leaf >= 0 else [
            leaf.number for leaf in self.topology.overlapping(block.prefix)
        ]  # fmt: skip
        for number in leaves:
            space = self.spaces[number]
            if taken:
                space.take(block.prefix)
                self.stale |= space.overlapping
            elif space.overlapping:
                self.stale = True
            else:
                space.give(block)
                self.waiting.changed((BLOCK, "", number))
                self.dirty.spares |= space.short
                space.short.clear()
