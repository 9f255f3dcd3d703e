"""What is exhausted, which pods wait, and what is reserved: the last tables of `ipam show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.ipam.model.usage import BLOCK, GROUP, NETWORK
from romana_bus.ipam.report.exhaustion import Exhaustion
from romana_bus.ipam.report.lookup import reserved
from romana_bus.ipam.report.pinned import pinned

if TYPE_CHECKING:
    from romana_bus.ipam import State
    from romana_bus.ipam.report.exhaustion import Full


def waiting(state: State) -> list[dict[str, Any]]:
    """The pods that need an address and have none, with the reason."""
    return [
        {"pod": key, "node": name, "code": record.code, "reason": record.reason}
        for name, host in sorted(state.hosts.items())
        for key, record in sorted(host.records.items())
        if record.code
    ]


def print_reserved(state: State) -> None:
    if not (ranges := reserved(state)):
        return
    table = console.table("range", "network", "addresses", "", right=("addresses",))
    for range_ in ranges:
        left = f"draining: {range_.live:,} left" if range_.live else ""
        table.add_row(range_.cidr, range_.network, console.count(range_.size), Text(left, "yellow"))
    console.section("reserved ranges", table)


def print_pinned(state: State, every: bool = False) -> None:
    """Print who has fixed and sticky addresses, and which groups' blocks they break up, with the limits."""
    rows = []
    for view in pinned(state):
        limit = view.limits.max_per_namespace
        rows += [
            (f"namespace {name}", view.network, "addresses", count, limit)
            for name, count in view.namespaces.items()
        ]
        rows += [
            (f"group {group.group}", view.network, "broken blocks", group.broken, group.allowed)
            for group in view.groups
        ]
    if not rows:
        return
    rows.sort(key=lambda row: row[3] < row[4])
    shown, more = console.first(rows, every)
    table = console.table("of", "network", "", "now", "at most", right=("now", "at most"))
    for name, network, what, now, limit in shown:
        style = "yellow" if now >= limit else ""
        table.add_row(name, network, what, Text(console.count(now), style), console.count(limit))
    console.section("fixed and sticky addresses", table, *console.and_more(more, console.ALL))


def print_unplaced(denied: list[tuple[str, str]], every: bool) -> None:
    if not denied:
        return
    table = console.table("node", "why")
    shown, more = console.first(sorted(denied), every)
    for row in shown:
        table.add_row(*row)
    console.section("nodes without a place", table, *console.and_more(more, console.ALL))


def print_full(state: State, every: bool = False) -> None:
    """Print what is exhausted, without the groups of an exhausted network."""
    full = Exhaustion(state).full
    networks = {entry.network for entry in full if entry.scope == NETWORK}
    full = tuple(entry for entry in full if entry.scope != GROUP or entry.network not in networks)
    if not full:
        return
    shown, more = console.first(full, every)
    table = console.table("full", "prefix", "pods waiting", "why", right=("pods waiting",))
    for entry in shown:
        group = f"group {entry.group} of {entry.network}"
        name = f"network {entry.network}" if entry.scope == NETWORK else group
        table.add_row(name, entry.prefix, console.count(entry.waiting), _why(entry))
    console.section("exhausted", table, *console.and_more(more, console.ALL))


def _why(full: Full) -> Text:
    if full.scope != BLOCK:
        text = "no group has a free address" if full.scope == NETWORK else "no free address"
        return Text(text + (f"; {full.cooling:,} cool down" if full.cooling else ""), "red")
    free = console.many(full.free, "free address is", "free addresses are")
    if not full.nodes:
        return Text(f"no whole block left; {free} in the blocks of nodes", "yellow")
    nodes = ", ".join(full.nodes[:3]) + (f" and {len(full.nodes) - 3:,} more" if len(full.nodes) > 3 else "")
    text = f"no whole block left for {nodes}; {free} in blocks of other nodes"
    return Text(text, "red" if full.waiting else "yellow")


def print_waiting(state: State, every: bool = False) -> None:
    if not (pods := waiting(state)):
        return
    table = console.table("pod", "node", "why")
    shown, more = console.first(pods, every)
    for pod in shown:
        table.add_row(pod["pod"], pod["node"], pod["reason"])
    console.section("pods without an address", table, *console.and_more(more, console.ALL))
