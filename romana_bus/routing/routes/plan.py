"""Computes the delta between the desired and the actual routes. Pure.

An event touches one host, and only what `derive` found to be affected by it is compared, so the cost does not
grow with the cluster. Everything is compared only after a new dump of the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.routing.routes.delta import Delta

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.routing.routes.installed import Kernel
    from romana_bus.routing.routes.state import State, Via


def plan(state: State, kernel: Kernel) -> Delta:
    """The delta from the kernel's state to the one that was derived last. Changes neither."""
    delta = Delta()
    if state.known:
        delta.removed += kernel.surplus
        delta.misplaced += kernel.misplaced
    for route in state.unsettled_routes:
        _route(delta, route, state.wanted.get(route), kernel.routes.get(route))
    for number in state.unsettled_nexthops:
        _nexthop(delta, number, state.vias.get(number), kernel.nexthops.get(number))
    delta.unreachable = sorted(state.unreachable - kernel.unreachable)
    delta.reachable = sorted(
        prefix
        for prefix in kernel.unreachable - state.unreachable
        if state.known or kernel.guard.refuses(prefix)
    )
    return delta


def plan_withdrawal(kernel: Kernel) -> Delta:
    """The removal of those routes in the kernel that the guard refuses, whatever is desired: for the time
    without a log."""
    refuses = kernel.guard.refuses
    return Delta(
        removed=[(route, number) for route, number in kernel.routes.items() if refuses(route)],
        reachable=sorted(filter(refuses, kernel.unreachable)),
    )


def plan_removal(kernel: Kernel) -> Delta:
    """The removal of all that is ours, whatever is desired: when the agent is uninstalled."""
    return Delta(
        removed=[*kernel.routes.items(), *kernel.surplus],
        misplaced=[*kernel.misplaced],
        reachable=sorted(kernel.unreachable),
        deleted=sorted(kernel.nexthops),
    )


def _route(delta: Delta, route: Prefix, wanted: int | None, actual: int | None) -> None:
    if wanted == actual:
        return
    if actual is None and wanted is not None:
        delta.added.append((route, wanted))
    elif wanted is not None and actual is not None:
        delta.moved.append((route, wanted, actual))
    elif actual is not None:
        delta.removed.append((route, actual))


def _nexthop(delta: Delta, number: int, wanted: Via | None, actual: Via | None) -> None:
    if wanted == actual:
        return
    if wanted is None:
        delta.deleted.append(number)
    elif actual is None:
        delta.created.append((number, wanted))
    else:
        delta.changed.append((number, wanted))
