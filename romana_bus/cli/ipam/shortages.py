"""What has no room, who waits for it, and what was set aside: the end of `ipam show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.ipam.model.usage import BLOCK, GROUP, NETWORK
from romana_bus.ipam.report.exhaustion import Exhaustion
from romana_bus.ipam.report.lookup import reserved

if TYPE_CHECKING:
    from romana_bus.ipam import State
    from romana_bus.ipam.report.exhaustion import Full


def waiting(state: State) -> list[dict[str, Any]]:
    """The pods that want an address and have none, with the reason."""
    return [
        {"pod": key, "node": name, "code": record.code, "reason": record.reason}
        for name, host in sorted(state.hosts.items())
        for key, record in sorted(host.records.items())
        if record.code
    ]


def print_reserved(state: State) -> None:
    if not (found := reserved(state)):
        return
    table = console.table("range", "network", "addresses", "", right=("addresses",))
    for one in found:
        left = f"draining: {one.live:,} left" if one.live else ""
        table.add_row(one.cidr, one.network, console.count(one.size), Text(left, "yellow"))
    console.section("reserved ranges", table)


def print_nowhere(denied: list[tuple[str, str]], every: bool) -> None:
    if not denied:
        return
    table = console.table("node", "why")
    shown, more = console.first(sorted(denied), every)
    for row in shown:
        table.add_row(*row)
    console.section("nodes without a place", table, *console.and_more(more, console.ALL))


def print_full(state: State, every: bool = False) -> None:
    """What has no room. Of a network that is full, not each of its groups as well."""
    found = Exhaustion(state).full
    networks = {one.network for one in found if one.scope == NETWORK}
    found = tuple(one for one in found if one.scope != GROUP or one.network not in networks)
    if not found:
        return
    shown, more = console.first(found, every)
    table = console.table("full", "prefix", "pods waiting", "why", right=("pods waiting",))
    for one in shown:
        what = f"network {one.network}" if one.scope == NETWORK else f"group {one.group} of {one.network}"
        table.add_row(what, one.prefix, console.count(one.waiting), _why(one))
    console.section("without room", table, *console.and_more(more, console.ALL))


def _why(one: Full) -> Text:
    if one.scope != BLOCK:
        what = "no group has a free address" if one.scope == NETWORK else "no free address"
        return Text(what + (f"; {one.cooling:,} cool down" if one.cooling else ""), "red")
    free = console.many(one.free, "free address is", "free addresses are")
    if not one.nodes:
        return Text(f"no whole block left; {free} in the blocks of nodes", "yellow")
    nodes = ", ".join(one.nodes[:3]) + (f" and {len(one.nodes) - 3:,} more" if len(one.nodes) > 3 else "")
    text = f"no whole block left for {nodes}; {free} in blocks of other nodes"
    return Text(text, "red" if one.waiting else "yellow")


def print_waiting(state: State, every: bool = False) -> None:
    if not (found := waiting(state)):
        return
    table = console.table("pod", "node", "why")
    shown, more = console.first(found, every)
    for one in shown:
        table.add_row(one["pod"], one["node"], one["reason"])
    console.section("pods without an address", table, *console.and_more(more, console.ALL))
