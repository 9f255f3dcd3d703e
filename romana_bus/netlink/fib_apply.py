"""Applies a delta to the kernel, in batches of a few hundred messages with one acknowledgement each.

A refused change does not stop the others; the error names its prefix. But no route is removed that may be the
only one that still covers a prefix whose new route was refused.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeVar

from romana_bus.inet import V4, V6, format_address
from romana_bus.netlink import nexthops, routes
from romana_bus.netlink.socket import dump
from romana_bus.routing.routes.nexthop_ids import is_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from romana_bus.inet import Prefix
    from romana_bus.netlink.socket import Socket
    from romana_bus.routing import Delta, Kernel
    from romana_bus.routing.routes.state import Via

T = TypeVar("T")
Route = tuple["Prefix", int]
Misplaced = tuple["Prefix", int, int]

#: Changes in one system call.
BATCH = 512
#: How many refused changes an error names.
NAMED = 3
#: If more routes than these could not be added, no route is removed, instead of checking each of them.
HELD = 256

_EXISTS, _GONE = frozenset({errno.EEXIST}), frozenset({errno.ESRCH, errno.ENOENT})
#: A kernel without IPv6 needs no unreachable IPv6 routes.
_NOT_NEEDED = _EXISTS | {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}


class Unapplied(Exception):
    """The kernel refused some changes; the others are made. The text names the first refused ones."""


class DeltaWriter:
    """Applies one delta, and notes in `kernel` what was changed."""

    def __init__(self, socket: Socket, kernel: Kernel) -> None:
        self._socket, self._kernel = socket, kernel
        self.refused: list[str] = []
        self._missing: list[Prefix] = []  # prefixes whose routes could not be added
        self._others: dict[int, Prefix] = {}  # nexthops to be deleted that foreign routes use, with one route

    def apply(self, delta: Delta) -> Iterator[int]:
        """Apply in the delta's order; yields the number of changes of each step. Raises OSError, and
        Unapplied at the end if some changes were refused."""
        yield from _in_batches(self._create, delta.created)
        yield from _in_batches(self._change, delta.changed)
        yield from _in_batches(self._add, delta.added)
        yield from _in_batches(self._move, delta.moved)
        yield from _in_batches(self._add_unreachable, delta.unreachable)
        yield from _in_batches(self._remove, delta.removed)
        yield from _in_batches(self._remove_misplaced, delta.misplaced)
        yield from _in_batches(self._remove_unreachable, delta.reachable)
        if any(map(is_object, delta.deleted)):
            yield from self._find_other_users(set(delta.deleted))
        yield from _in_batches(self._delete, delta.deleted)
        if self.refused:
            raise Unapplied(_summary(self.refused))

    def _create(self, created: list[tuple[int, Via]]) -> int:
        done = self._send(created, nexthops.create, _nexthop) if self._kernel.objects else created
        self._kernel.nexthops.update(done)
        return len(done)

    def _change(self, changed: list[tuple[int, Via]]) -> int:
        done = self._send(changed, nexthops.change, _nexthop)
        self._kernel.nexthops.update(done)
        return len(done)

    def _add(self, added: list[Route]) -> int:
        done = self._added(added)
        self._kernel.routes.update(done)
        return len(done)

    def _added(self, added: list[Route]) -> list[Route]:
        if self._kernel.objects:
            done = self._send(added, routes.by_nexthop, _route, _EXISTS)
        else:
            done = self._send(added, self._gateways(routes.by_gateway), self._route_via, _EXISTS)
        if len(done) < len(added):
            self._missing += [route for route, _ in set(added) - set(done)]
        return done

    def _move(self, moved: list[tuple[Prefix, int, int]]) -> int:
        """Add the new route, then remove the old one. If adding is refused, the old one stays."""
        vias = self._kernel.nexthops
        same = {
            route: new
            for route, new, old in moved
            if not is_object(new) and not is_object(old) and vias[new] == vias[old]
        }
        done = dict(self._added([(route, new) for route, new, _ in moved if route not in same]))
        self._removed([(route, old) for route, _, old in moved if route in done])
        self._kernel.routes.update(done | same)
        return len(done)

    def _add_unreachable(self, unreachable: list[Prefix]) -> int:
        done = self._send(unreachable, routes.unreachable, _unreachable, _NOT_NEEDED)
        self._kernel.unreachable.update(done)
        return len(done)

    def _remove(self, removed: list[Route]) -> int:
        done = self._removed([change for change in removed if not self._held(change[0])])
        for route, number in done:
            if self._kernel.routes.get(route) == number:
                del self._kernel.routes[route]
        return len(done)

    def _held(self, route: Prefix) -> bool:
        """Whether the route may be the only one that still covers a missing one."""
        return len(self._missing) > HELD or any(route.overlaps(other) for other in self._missing)

    def _remove_misplaced(self, misplaced: list[Misplaced]) -> int:
        removable = [change for change in misplaced if not self._held(change[0])]
        return len(self._send(removable, self._pack_misplaced, _misplaced, _GONE))

    def _pack_misplaced(self, first: int, misplaced: list[Misplaced]) -> list[bytes]:
        packed = []
        for sequence, (route, number, metric) in enumerate(misplaced, first):
            if not number:
                [request] = routes.reachable(sequence, [route])
            elif is_object(number):
                [request] = routes.without_nexthop(sequence, [(route, number)])
            else:
                [request] = routes.without_gateway(sequence, [(route, self._kernel.nexthops[number])])
            packed.append(routes.with_metric(request, route.width, metric))
        return packed

    def _removed(self, removed: list[Route]) -> list[Route]:
        objects = [change for change in removed if is_object(change[1])]
        done = self._send(objects, routes.without_nexthop, _route, _GONE)
        if len(objects) < len(removed):
            others = [change for change in removed if not is_object(change[1])]
            done += self._send(others, self._gateways(routes.without_gateway), self._route_via, _GONE)
        return done

    def _remove_unreachable(self, reachable: list[Prefix]) -> int:
        done = self._send(reachable, routes.reachable, _unreachable, _GONE)
        self._kernel.unreachable.difference_update(done)
        return len(done)

    def _find_other_users(self, deleted: set[int]) -> Iterator[int]:
        """Find foreign routes that use nexthops that are to be deleted."""
        for width in (V4, V6):
            for part in dump(self._socket, routes.dump_all(width)):
                for prefix, number in routes.of_others(part):
                    if number in deleted:
                        self._others.setdefault(number, prefix)
                yield 0

    def _delete(self, deleted: list[int]) -> int:
        """Delete unused nexthops. With a nexthop the kernel removes all its routes: ours that could not be
        moved, and foreign ones."""
        used = {*self._kernel.routes.values(), *self._others}
        self.refused += [
            f"nexthop {number} cannot be deleted: a route of another owner to {self._others[number]} uses it"
            for number in sorted(deleted)
            if number in self._others
        ]
        unused = [number for number in deleted if number not in used]
        done = self._send([number for number in unused if is_object(number)], nexthops.delete, str, _GONE)
        done += [number for number in unused if not is_object(number)]
        for number in done:
            self._kernel.nexthops.pop(number, None)
        return len(done)

    def _gateways(
        self, pack: Callable[[int, list[tuple[Prefix, Via]]], list[bytes]]
    ) -> Callable[[int, list[Route]], list[bytes]]:
        vias = self._kernel.nexthops
        return lambda first, some: pack(first, [(route, vias[number]) for route, number in some])

    def _route_via(self, route: Route) -> str:
        width, address, _ = self._kernel.nexthops[route[1]]
        return f"{route[0]} via {format_address(width, address)}"

    def _send(
        self,
        changes: list[T],
        pack: Callable[[int, list[T]], list[bytes]],
        name: Callable[[T], str],
        harmless: frozenset[int] = frozenset(),
    ) -> list[T]:
        """Send changes; returns those that were made. `harmless`: errors that mean that nothing had to be
        done. Raises OSError."""
        if not changes:
            return changes
        first = self._socket.reserve(len(changes))
        failures = self._socket.deliver(first, pack(first, changes))
        refused = {failure.at: failure for failure in failures if failure.errno not in harmless}
        if not refused:
            return changes
        self.refused += [f"{name(changes[index])}: {failure}" for index, failure in sorted(refused.items())]
        return [change for index, change in enumerate(changes) if index not in refused]


def _in_batches(step: Callable[[list[T]], int], changes: list[T]) -> Iterator[int]:
    for start in range(0, len(changes), BATCH):
        yield step(changes[start : start + BATCH])


def _nexthop(change: tuple[int, Via]) -> str:
    return f"nexthop {change[0]} via {format_address(change[1][0], change[1][1])}"


def _route(change: Route) -> str:
    return f"{change[0]} by nexthop {change[1]}"


def _misplaced(change: Misplaced) -> str:
    return f"{change[0]} with metric {change[2]}"


def _unreachable(prefix: Prefix) -> str:
    return f"unreachable {prefix}"


def _summary(refused: list[str]) -> str:
    first = "; ".join(refused[:NAMED])
    more = len(refused) - NAMED
    return f"{first}; and {more} more" if more > 0 else first
