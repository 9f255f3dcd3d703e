"""`romana-bus ipam`: who has which address, and how much room there is."""

from __future__ import annotations

import math
from typing import Annotated

from cyclopts import App, Parameter

from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.connect import open_store
from romana_bus.cli import capacity, lookup, node, reserve, show, trouble
from romana_bus.cli.capacity import closed, print_hosts, print_networks
from romana_bus.cli.folded import ipam_state
from romana_bus.cli.growth import growth
from romana_bus.cli.options import OPTIONS, Output, Store
from romana_bus.cli.session import run
from romana_bus.cli.trouble import print_waiting
from romana_bus.errors import BadInput
from romana_bus.events import IPAM, KUBE, SPEC
from romana_bus.ipam import State, view
from romana_bus.ipam.outlook import Outlooks
from romana_bus.ipam.rate import Growth

__all__ = ["app", "closed", "print_hosts", "print_networks", "print_waiting"]

app = App(
    name="ipam",
    help="Addresses: who has which, how full networks, groups and nodes are, and what is reserved.",
    sort_key=5,
    group_parameters=OPTIONS,
)
app.command(reserve.reserve)
app.command(reserve.unreserve)

#: Hours of the least window and the largest: less says nothing, more is in no log.
WINDOWS = (1 / 6, 24 * 365.0)


@app.command(name="show")
def show_(
    *,
    host: str = "",
    pod: str = "",
    ip: str = "",
    all: Annotated[bool, Parameter(negative="")] = False,
    window: float = 1.0,
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Show how full networks, groups, tenants and nodes are, what has no room left, and who waits.

    `frag` is the share of free addresses in blocks that are partly used: only the node of the block can
    have them. `lasts` is how long the free ones last if they go as they did in the last hour.

    Parameters
    ----------
    host
        Only this node: its place, blocks, pods, and what cools down.
    pod
        Only this pod (NAMESPACE/NAME): its addresses, since when, and what led to it; or why it has none.
    ip
        Only this address: who has it, or had it last, and where it lies.
    all
        Every row of every table.
    window
        Hours of the log that the rate is taken from.
    """
    if len(given := [f"--{name}" for name, value in (("host", host), ("pod", pod), ("ip", ip)) if value]) > 1:
        raise BadInput(f"{' and '.join(given)}: give one of them")
    if not (math.isfinite(window) and WINDOWS[0] <= window <= WINDOWS[1]):
        raise BadInput(
            f"--window {window:g}: between {WINDOWS[0]:.2f} (ten minutes) and {WINDOWS[1]:g} hours"
        )
    run(_show(host, pod, ip, all, window, store, output), output)


async def _show(
    host: str, pod: str, ip: str, every: bool, window: float, store: Store, output: Output
) -> None:
    async with await open_store(store.access, store.layout, "ipam show", [SPEC, KUBE, IPAM]) as opened:
        state = await ipam_state(opened)
        if pod or ip:
            await _one(opened, state, pod, ip, output.json)
            return
        if host:
            node.host(state, host)
        grown = await growth(opened, window)
    outlooks = Outlooks(view.networks(state), grown)
    if host:
        found = node.host(state, host)
        if output.json:
            show.as_json(node.host_document(state, found, outlooks))
        else:
            node.print_host(state, found, outlooks)
    elif output.json:
        show.as_json(capacity.document(state, outlooks))
    else:
        print_state(state, grown, outlooks, every)


async def _one(store: OpenStore, state: State, pod: str, ip: str, as_json: bool) -> None:
    found = await (lookup.pod(store, state, pod) if pod else lookup.ip(store, state, ip))
    if as_json:
        show.as_json(found)
    elif pod:
        lookup.print_pod(found)
    else:
        lookup.print_ip(found)


def print_state(state: State, grown: Growth | None, outlooks: Outlooks, every: bool) -> None:
    """What is wrong comes last: that is what is on the screen in the end."""
    if state.obstacle:
        show.hint(f"Nothing is decided now: {state.obstacle}.")
    if not state.hosts:
        show.hint("No node was ever seen: `romana-bus up` watches a cluster, or `watch` and `run ipam` do.")
    if state.obstacle or not state.hosts:
        show.console.print()
    print_networks(state, outlooks, every)
    capacity.print_tenants(state, outlooks, every)
    trouble.print_reserved(state)
    print_hosts(state, outlooks, every)
    if state.hosts:
        show.console.print(show.dim(_rate(grown)), "", sep="\n")
    trouble.print_full(state, every)
    print_waiting(state, every)


def _rate(grown: Growth | None) -> str:
    if grown is None:
        return "lasts: nothing can be said yet; it needs ten minutes of the log, beside the first ten"
    return f"lasts: at the rate of {show.when(grown.since)} to {show.when(grown.until)[-8:]}"
