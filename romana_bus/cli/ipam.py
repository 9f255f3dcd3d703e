"""`romana-bus ipam`: who has which address, and how much room there is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cyclopts import App

from romana_bus.bus.connect import open_store
from romana_bus.cli import show
from romana_bus.cli.folded import ipam_state
from romana_bus.cli.options import Output, Store
from romana_bus.cli.session import run
from romana_bus.events import IPAM, KUBE, SPEC
from romana_bus.ipam import view

if TYPE_CHECKING:
    from romana_bus.ipam import State

app = App(name="ipam", help="Addresses: networks, groups, hosts, and how full they are.")


@app.command(name="show")
def show_(*, store: Store = Store(), output: Output = Output()) -> None:
    """Show networks, their groups, and hosts with their blocks."""
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
    if state.obstacle:
        show.console.print(f"[yellow]Nothing is decided now:[/] {state.obstacle}\n")
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
    right = ("hosts", "used", "cooling", "free", "blocks")
    for network in view.networks(state):
        for_whom = ", ".join(network.tenants) or "everyone"
        title = (
            f"network {network.network}  {network.prefix}, blocks of /{network.block_mask}, for {for_whom}"
        )
        table = show.table(title, "group", "prefix", "hosts", *show.ROOM, right=right)
        for group in network.groups:
            if group.leaf:
                table.add_row(group.group, group.prefix, str(group.hosts), *show.room(group.room))
        closed = sum(group.closed for group in network.groups)
        if closed:
            table.add_row(f"[dim]({closed} closed)[/]", "[dim]room for groups to come[/]")
        show.console.print(table, "")


def print_hosts(state: State) -> None:
    table = show.table(
        "hosts", "node", "address", "group", "pods", *show.ROOM, right=("pods", *show.ROOM[1:])
    )
    for host in view.hosts(state):
        where = ", ".join(dict.fromkeys(host.groups.values())) or f"[red]{host.denied or 'not placed'}[/]"
        if not host.room.size:
            table.add_row(host.node, ", ".join(host.addresses), where, str(host.pods))
            continue
        table.add_row(host.node, ", ".join(host.addresses), where, str(host.pods), *show.room(host.room))
    show.console.print(table)


def print_waiting(state: State) -> None:
    if not (found := waiting(state)):
        return
    table = show.table("pods without an address", "pod", "node", "why")
    for one in found:
        table.add_row(one["pod"], one["node"], one["reason"])
    show.console.print("", table)
