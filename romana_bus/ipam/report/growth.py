"""Growth of usage: the addresses assigned and released within a window of the log. Pure.

At the beginning of a log, a cluster gets all its addresses at once, which is not growth. So the first
`SETTLING` of a log is left out. A window shorter than `LEAST` says nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING

from romana_bus.events import AddressAssigned, AddressReleased
from romana_bus.events.base import SECOND
from romana_bus.inet import V4, V6, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.events import AddressEvent
    from romana_bus.inet import Prefix

HOUR = 3600 * SECOND
SETTLING = LEAST = 600 * SECOND

#: A width and a value.
Address = tuple[int, int]
#: A node, a namespace and the name of a pod there.
Entity = tuple[str, str, str]


def window(now: int, hours: float, began: int) -> int | None:
    """When the window of the last `hours` begins, in a log that began at `began`; None where the window would
    be too short. Times in µs."""
    start = max(now - int(hours * HOUR), began + SETTLING)
    return start if now - start >= LEAST else None


class Ledger:
    """The addresses that each pod's name held when the window began, and those that it holds now."""

    def __init__(self) -> None:
        self._before: dict[Entity, tuple[Address, ...]] = {}
        self._now: dict[Entity, tuple[Address, ...]] = {}

    def fold(self, event: AddressEvent, time: int) -> None:
        """Folds the events of the window, in order, each with its time on the log.

        The first event of an entity shows what it held before: nothing, if an address is assigned; the
        addresses that now cool down, if it is released. (Without a cooldown, growth therefore seems too
        large.)"""
        entity = (event.node, event.namespace, event.name)
        if entity not in self._before:
            ended = event.cooling if isinstance(event, AddressReleased) else ()
            self._before[entity] = tuple(parse_address(old.address) for old in ended if old.until > time)
        held = event.addresses if isinstance(event, AddressAssigned) else ()
        self._now[entity] = tuple(parse_address(given.address) for given in held)

    def growth(self, since: int, until: int) -> Growth:
        changes = [
            (address, entity, sign)
            for entity, before in self._before.items()
            if before != (now := self._now[entity])
            for addresses, sign in ((before, -1), (now, 1))
            for address in addresses
        ]
        return Growth(since, until, changes)


class Growth:
    """The net change of used addresses between two times (µs)."""

    def __init__(self, since: int, until: int, changes: Iterable[tuple[Address, Entity, int]] = ()) -> None:
        self.since, self.until = since, until
        self._tenants: Counter[str] = Counter()
        self._nodes: dict[str, list[tuple[Address, int]]] = {}
        values: dict[int, list[tuple[int, int]]] = {V4: [], V6: []}
        for (width, value), (node, tenant, _), sign in changes:
            values[width].append((value, sign))
            self._tenants[tenant] += sign
            self._nodes.setdefault(node, []).append(((width, value), sign))
        for family in values.values():
            family.sort()
        self._values = {width: [value for value, _ in family] for width, family in values.items()}
        self._sums = {width: [0, *accumulate(sign for _, sign in family)] for width, family in values.items()}

    @property
    def hours(self) -> float:
        return (self.until - self.since) / HOUR

    def within(self, prefix: Prefix) -> int:
        """The net change inside the prefix."""
        values, sums = self._values[prefix.width], self._sums[prefix.width]
        return sums[bisect_left(values, prefix.end)] - sums[bisect_left(values, prefix.base)]

    def of_node(self, node: str, prefix: Prefix) -> int:
        return sum(
            sign for (width, value), sign in self._nodes.get(node, ()) if prefix.includes(width, value)
        )

    def of_tenant(self, tenant: str) -> int:
        return self._tenants[tenant]

    def per_hour(self, net: int) -> float:
        return net / self.hours

    def left(self, free: int, net: int) -> float | None:
        """Hours until `free` addresses are used, at the growth `net` of the window; None for never."""
        return free / net * self.hours if net > 0 else None
