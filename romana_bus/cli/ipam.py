"""`romana-bus ipam`: who has which address, and how much room there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App
from rich.text import Text

from romana_bus.bus.connect import open_store
from romana_bus.cli import show
from romana_bus.cli.folded import ipam_state
from romana_bus.cli.options import OPTIONS, Output, Store
from romana_bus.cli.session import run
from romana_bus.events import IPAM, KUBE, SPEC
from romana_bus.ipam import view

if TYPE_CHECKING:
    from rich.console import RenderableType

    from romana_bus.ipam import State
    from romana_bus.ipam.view import NetworkView

app = App(
    name="ipam",
    help="Addresses: who has which, and how full networks, groups and nodes are.",
    sort_key=5,
    group_parameters=OPTIONS,
)


@app.command(name="show")
def show_(*, store: Store = Store(), output: Output = Output()) -> None:
    """Show how full networks, groups and nodes are, and which pods have no address, and why.

    With --json also the blocks of each node."""
    run(_show(store, output), output)


async def _show(store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "ipam show", [SPEC, KUBE, IPAM]) as opened:
        state = await ipam_state(opened)
    if output.json:
        show.as_json(
            {
                "networks": view.networks(state),
                "hosts": view.hosts(state),
                "waiting": waiting(state),
                "obstacle": state.obstacle,
            }
        )
        return
    print_state(state)


def print_state(state: State) -> None:
    if state.obstacle:
        show.hint(f"Nothing is decided now: {state.obstacle}.")
    if not state.hosts:
        show.hint("No node was ever seen: `romana-bus up` watches a cluster, or `watch` and `run ipam` do.")
    if state.obstacle or not state.hosts:
        show.console.print()
    print_networks(state)
    print_hosts(state)
    print_waiting(state)


def waiting(state: State) -> list[dict[str, Any]]:
    """The pods that want an address and have none, with the reason."""
    return [
        {"pod": key, "node": name, "code": record.code, "reason": record.reason}
        for name, host in sorted(state.hosts.items())
        for key, record in sorted(host.records.items())
        if record.code
    ]


def print_networks(state: State) -> None:
    for network in view.networks(state):
        for_whom = ", ".join(network.tenants) or "everyone"
        title = (
            f"network {network.network}  {network.prefix}, blocks of /{network.block_mask}, for {for_whom}"
        )
        columns = show.room_columns()
        table = show.table("group", "prefix", "nodes", *columns, right=("nodes", *columns[1:]))
        for group in network.groups:
            if group.leaf:
                table.add_row(group.group, group.prefix, show.count(group.hosts), *show.room(group.room))
        parts: list[RenderableType] = [table] if table.row_count else []
        show.section(title, *parts, *closed(network))


def closed(network: NetworkView) -> list[Text]:
    """What is kept free for groups to come, in one line."""
    prefixes = [group.prefix for group in network.groups if group.closed]
    if not prefixes:
        return []
    which = ", ".join(prefixes[:2]) + (", ..." if len(prefixes) > 2 else "")
    return [
        Text(f"kept for groups to come: {show.many(len(prefixes), 'prefix', 'prefixes')} ({which})", "dim")
    ]


def print_hosts(state: State) -> None:
    if not state.hosts:
        return
    columns = show.room_columns()
    table = show.table("node", "address", "group", "pods", *columns, right=("pods", *columns[1:]))
    for host in view.hosts(state):
        group = ", ".join(dict.fromkeys(host.groups.values())) or Text("none", "red")
        room = show.room(host.room) if host.room.size else ()
        table.add_row(host.node, ", ".join(host.addresses), group, show.count(host.pods), *room)
    show.section("nodes", table)
    denied = show.table("node", "why")
    for host in view.hosts(state):
        if host.denied:
            denied.add_row(host.node, host.denied)
    if denied.row_count:
        show.section("nodes without a place", denied)


def print_waiting(state: State) -> None:
    if not (found := waiting(state)):
        return
    table = show.table("pod", "node", "why")
    for one in found:
        table.add_row(one["pod"], one["node"], one["reason"])
    show.section("pods without an address", table)
