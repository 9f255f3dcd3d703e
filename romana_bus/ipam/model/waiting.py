"""Pods that were denied an address: what each of them waits for, and which of them to try again.

Part of the index. Which pods were denied follows from the records; what a pod waits for is set by each
denial, when it is decided. A change costs nothing for the pods that do not wait for it, however many they
are.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.inet import Prefix
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import Entry

#: (ADDRESS, width, value): anything about the address changes.
ADDRESS = "address"
#: (ROOM, node, leaf): the node has one more free address in the leaf.
ROOM = "room"
#: (BLOCK, "", leaf): the leaf has one more free block, or one without an address that a node gives up.
BLOCK = "block"
#: (SHARE, namespace, place): the number of the namespace's fixed and sticky addresses in the network at this
#: place comes to its limit, or under it.
SHARE = "share"
#: (BROKEN, "", leaf): the number of the leaf's broken blocks comes to its limit, or under it.
BROKEN = "broken"

#: What a pod can wait for.
Target = tuple[str, str | int, int]


class Waiting:
    """`denied`: node -> its pods that were denied an address. `retry`: collects the entries to try again.
    `targets`: target -> the pods that wait for it."""

    def __init__(self, retry: set[Entry]) -> None:
        self.denied: dict[str, set[str]] = {}
        self.retry = retry
        self.targets: dict[Target, set[Entry]] = {}
        self._waits_for: dict[Entry, frozenset[Target]] = {}
        #: The addresses (width, value) that pods wait for, sorted.
        self.addresses: list[tuple[int, int]] = []

    def deny(self, node: str, key: str) -> None:
        """The newest record of the pod is a denial."""
        self.denied.setdefault(node, set()).add(key)

    def end_denial(self, node: str, key: str) -> None:
        """The newest record of the pod is no longer a denial."""
        keys = self.denied[node]
        keys.discard(key)
        if not keys:
            del self.denied[node]
        self.wait((node, key), ())

    def wait(self, entry: Entry, targets: Iterable[Target]) -> None:
        """The pod is tried again when one of the targets changes, and for no other one."""
        wanted, known = frozenset(targets), self._waits_for.get(entry, frozenset())
        for target in known - wanted:
            entries = self.targets[target]
            entries.discard(entry)
            if not entries:
                del self.targets[target]
                if (address := _as_address(target)) is not None:
                    del self.addresses[bisect_left(self.addresses, address)]
        for target in wanted - known:
            if target not in self.targets:
                self.targets[target] = set()
                if (address := _as_address(target)) is not None:
                    insort(self.addresses, address)
            self.targets[target].add(entry)
        if wanted:
            self._waits_for[entry] = wanted
        else:
            self._waits_for.pop(entry, None)

    def changed(self, target: Target) -> None:
        """Tries again the pods that wait for the target."""
        if entries := self.targets.get(target):
            self.retry |= entries

    def node_changed(self, node: str) -> None:
        """Tries again all pods of the node that were denied an address: it is in other groups now."""
        self.retry.update((node, key) for key in self.denied.get(node, ()))

    def record_changed(self, record: Record) -> None:
        """Something changes about the addresses of the record."""
        # The first address is not made a `Held`: most records have no other.
        if (block := record.block) is not None:
            self.changed((ADDRESS, block.prefix.width, block.prefix.base + record.offset))
        for held in (*record.rest.more, *record.rest.cooling):
            self.changed((ADDRESS, *held.numeric))

    def block_changed(self, prefix: Prefix) -> None:
        """A block is opened or released, changes its owner, or becomes empty."""
        if self.addresses:
            self.range_changed(prefix.width, prefix.base, prefix.end)

    def range_changed(self, width: int, start: int, end: int) -> None:
        """Something changes about the addresses of the range."""
        first, behind = (bisect_left(self.addresses, (width, value)) for value in (start, end))
        for address in self.addresses[first:behind]:
            self.changed((ADDRESS, *address))


def _as_address(target: Target) -> tuple[int, int] | None:
    kind, width, value = target
    return (width, value) if kind == ADDRESS and isinstance(width, int) else None
