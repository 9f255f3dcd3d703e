"""A delta, done: in batches of a few hundred messages, each with one acknowledgement.

What is refused does not keep the rest from being done; it is told with the prefix that it concerns. But
nothing is removed that may be all that leads to where a route could not be added.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeVar

from romana_bus.inet import V4, V6, format_address
from romana_bus.netlink import nexthops, routes
from romana_bus.netlink.messages import dump
from romana_bus.routing.routes.nexthop_ids import is_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from romana_bus.inet import Prefix
    from romana_bus.netlink.messages import Socket
    from romana_bus.routing import Delta, Kernel
    from romana_bus.routing.routes.state import Via

T = TypeVar("T")
Route = tuple["Prefix", int]
Stray = tuple["Prefix", int, int]

#: Changes in one system call.
BATCH = 512
#: How many of the refused changes are named.
NAMED = 3
#: Of more routes than these that could not be added, it is not looked what each removal would leave bare.
HELD = 256

_THERE, _GONE = frozenset({errno.EEXIST}), frozenset({errno.ESRCH, errno.ENOENT})
#: A kernel without IPv6 sends nothing round in circles either.
_BARRED_ANYWAY = _THERE | {errno.EAFNOSUPPORT, errno.EOPNOTSUPP}


class Unapplied(Exception):
    """Some changes were refused; the others are made. The text names the first of them."""


class Changing:
    def __init__(self, socket: Socket, kernel: Kernel) -> None:
        self._socket, self._kernel = socket, kernel
        self.refused: list[str] = []
        self._missing: list[Prefix] = []  # what could not be added
        self._others: dict[int, Prefix] = {}  # nexthops that are to go, with a route of somebody else's

    def all_of(self, delta: Delta) -> Iterator[int]:
        """In the delta's order, noting in the kernel's picture what was done; gives the number of each step.
        Raises OSError, and Unapplied when all others are done."""
        yield from _in_batches(self._create, delta.created)
        yield from _in_batches(self._change, delta.changed)
        yield from _in_batches(self._add, delta.added)
        yield from _in_batches(self._move, delta.moved)
        yield from _in_batches(self._bar, delta.unreachable)
        yield from _in_batches(self._remove, delta.removed)
        yield from _in_batches(self._remove_strays, delta.misplaced)
        yield from _in_batches(self._unbar, delta.unbarred)
        if any(map(is_object, delta.deleted)):
            yield from self._look_who_else_has(set(delta.deleted))
        yield from _in_batches(self._delete, delta.deleted)
        if self.refused:
            raise Unapplied(_told(self.refused))

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
            done = self._send(added, routes.by_nexthop, _route, _THERE)
        else:
            done = self._send(added, self._gateways(routes.by_gateway), self._by_way_of, _THERE)
        if len(done) < len(added):
            self._missing += [route for route, _ in set(added) - set(done)]
        return done

    def _move(self, moved: list[tuple[Prefix, int, int]]) -> int:
        """The new route is there before the old one goes: where that is refused, the old one stays."""
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

    def _bar(self, unreachable: list[Prefix]) -> int:
        done = self._send(unreachable, routes.unreachable, _barred, _BARRED_ANYWAY)
        self._kernel.unreachable.update(done)
        return len(done)

    def _remove(self, removed: list[Route]) -> int:
        done = self._removed([one for one in removed if not self._held(one[0])])
        for route, number in done:
            if self._kernel.routes.get(route) == number:
                del self._kernel.routes[route]
        return len(done)

    def _held(self, route: Prefix) -> bool:
        """It may be all that leads to where a route is missing."""
        return len(self._missing) > HELD or any(route.overlaps(other) for other in self._missing)

    def _remove_strays(self, misplaced: list[Stray]) -> int:
        going = [one for one in misplaced if not self._held(one[0])]
        return len(self._send(going, self._without_strays, _stray, _GONE))

    def _without_strays(self, first: int, misplaced: list[Stray]) -> list[bytes]:
        packed = []
        for at, (route, number, metric) in enumerate(misplaced, first):
            if not number:
                [request] = routes.reachable(at, [route])
            elif is_object(number):
                [request] = routes.without_nexthop(at, [(route, number)])
            else:
                [request] = routes.without_gateway(at, [(route, self._kernel.nexthops[number])])
            packed.append(routes.with_metric(request, route.width, metric))
        return packed

    def _removed(self, removed: list[Route]) -> list[Route]:
        objects = [one for one in removed if is_object(one[1])]
        done = self._send(objects, routes.without_nexthop, _route, _GONE)
        if len(objects) < len(removed):
            others = [one for one in removed if not is_object(one[1])]
            done += self._send(others, self._gateways(routes.without_gateway), self._by_way_of, _GONE)
        return done

    def _unbar(self, unbarred: list[Prefix]) -> int:
        done = self._send(unbarred, routes.reachable, _barred, _GONE)
        self._kernel.unreachable.difference_update(done)
        return len(done)

    def _look_who_else_has(self, deleted: set[int]) -> Iterator[int]:
        for width in (V4, V6):
            for part in dump(self._socket, routes.everybodys(width)):
                for prefix, number in routes.of_others(part):
                    if number in deleted:
                        self._others.setdefault(number, prefix)
                yield 0

    def _delete(self, deleted: list[int]) -> int:
        """The kernel removes a nexthop's routes with it, whoever's they are: what could not be moved
        elsewhere still has it, and others may have made use of it."""
        used = {*self._kernel.routes.values(), *self._others}
        self.refused += [
            f"nexthop {number} has to stay: {self._others[number]} of somebody else leads by it"
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

    def _by_way_of(self, route: Route) -> str:
        width, address, _ = self._kernel.nexthops[route[1]]
        return f"{route[0]} via {format_address(width, address)}"

    def _send(
        self,
        changes: list[T],
        pack: Callable[[int, list[T]], list[bytes]],
        name: Callable[[T], str],
        well: frozenset[int] = frozenset(),
    ) -> list[T]:
        """Those that were made. `well`: errors that mean that nothing had to be done."""
        if not changes:
            return changes
        first = self._socket.reserve(len(changes))
        failures = self._socket.deliver(first, pack(first, changes))
        refused = {failure.at: failure for failure in failures if failure.errno not in well}
        if not refused:
            return changes
        self.refused += [f"{name(changes[at])}: {failure}" for at, failure in sorted(refused.items())]
        return [change for at, change in enumerate(changes) if at not in refused]


def _in_batches(step: Callable[[list[T]], int], changes: list[T]) -> Iterator[int]:
    for at in range(0, len(changes), BATCH):
        yield step(changes[at : at + BATCH])


def _nexthop(change: tuple[int, Via]) -> str:
    return f"nexthop {change[0]} via {format_address(change[1][0], change[1][1])}"


def _route(change: Route) -> str:
    return f"{change[0]} by nexthop {change[1]}"


def _stray(change: Stray) -> str:
    return f"{change[0]} with metric {change[2]}"


def _barred(prefix: Prefix) -> str:
    return f"unreachable {prefix}"


def _told(refused: list[str]) -> str:
    first = "; ".join(refused[:NAMED])
    more = len(refused) - NAMED
    return f"{first}; and {more} more" if more > 0 else first
