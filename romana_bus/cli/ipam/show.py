"""`romana-bus ipam show`: usage, exhaustion, and the lookup of nodes, pods and addresses."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter

from romana_bus.bus.auth.permissions import READ
from romana_bus.bus.connect import open_store
from romana_bus.cli.common import console
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import Output, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.ipam import capacity, lookup, node, shortages
from romana_bus.cli.ipam.capacity import closed, print_hosts, print_networks
from romana_bus.cli.ipam.growth import growth
from romana_bus.cli.ipam.shortages import print_waiting
from romana_bus.errors import BadInput
from romana_bus.events import ROLES
from romana_bus.ipam import State
from romana_bus.ipam.report import views
from romana_bus.ipam.report.forecast import Forecasts
from romana_bus.ipam.report.growth import Growth

__all__ = ["closed", "print_hosts", "print_networks", "print_waiting"]

#: The shortest and the longest window, in hours.
WINDOWS = (1 / 6, 24 * 365.0)


def show_(
    *,
    host: str | None = None,
    pod: str | None = None,
    ip: str | None = None,
    all: Annotated[bool, Parameter(negative="")] = False,
    window: float = 1.0,
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Show the usage of networks, groups, tenants and nodes, what is exhausted, and which pods wait.

    `frag` is the share of the free addresses that lie in partly used blocks: only
    the node of the block can assign them. `lasts` is how long the free addresses
    last if usage grows as in the last hour; `-` means that it does not grow.

    Parameters
    ----------
    host
        Only this node: its place, blocks, pods, and cooling addresses.
    pod
        Only this pod (NAMESPACE/NAME): its addresses and the events that led to them, or why it has none.
    ip
        Only this address: which pod has it or had it last, its network, group and block.
    all
        Show every row of every table.
    window
        Hours of the log from which the growth is computed.
    """
    wanted = {"--host": host, "--pod": pod, "--ip": ip}
    given = [name for name, value in wanted.items() if value is not None]
    if len(given) > 1:
        raise BadInput(f"{' and '.join(given)}: give only one of them")
    lookup.check(pod, ip)
    if not (math.isfinite(window) and WINDOWS[0] <= window <= WINDOWS[1]):
        raise BadInput(
            f"--window {window:g}: must be between {WINDOWS[0]:.2f} (ten minutes) and {WINDOWS[1]:g} hours"
        )
    run(_show(host, pod, ip, all, window, store, output), output)


async def _show(
    host: str | None,
    pod: str | None,
    ip: str | None,
    every: bool,
    window: float,
    store: Store,
    output: Output,
) -> None:
    async with await open_store(
        store.access, store.layout, "ipam show", ROLES, who=READ, looking=True
    ) as opened:
        state = await ipam_state(opened)
        if pod is not None:
            return _print(await lookup.pod(opened, state, pod), lookup.print_pod, output)
        if ip is not None:
            return _print(await lookup.ip(opened, state, ip), lookup.print_ip, output)
        if host is not None:
            node.host(state, host)
        growth_ = await growth(opened, window)
    forecasts = Forecasts(views.networks(state), growth_)
    if host is not None:
        view = node.host(state, host)
        if not output.json:
            return node.print_host(state, view, forecasts)
        return console.as_json(node.host_document(state, view, forecasts))
    if output.json:
        return console.as_json(capacity.document(state, forecasts))
    return print_state(state, forecasts, every)


def _print(document: dict[str, Any], table: Callable[[dict[str, Any]], None], output: Output) -> None:
    (console.as_json if output.json else table)(document)


def print_state(state: State, forecasts: Forecasts, every: bool) -> None:
    """Print all tables. Problems come last, so that they stay on the screen."""
    if state.obstacle:
        console.hint(f"No decisions are taken now: {state.obstacle}.")
    if not state.hosts:
        console.hint(
            "The log has no nodes: start `romana-bus up`, or `romana-bus watch` and `romana-bus run ipam`."
        )
    if state.obstacle or not state.hosts:
        console.console.print()
    print_networks(state, forecasts, every)
    capacity.print_tenants(state, forecasts, every)
    shortages.print_reserved(state)
    shortages.print_pinned(state, every)
    print_hosts(state, forecasts, every)
    if state.hosts:
        console.console.print(console.dim(_rate(forecasts.growth)), "", sep="\n")
    shortages.print_full(state, every)
    print_waiting(state, every)


def _rate(growth_: Growth | None) -> str:
    if growth_ is None:
        return "lasts: unknown until the log is 20 minutes old"
    return f"lasts: at the rate of {console.when(growth_.since)} to {console.when(growth_.until)[-8:]}"
