"""One node: `ipam show --host`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.ipam import capacity
from romana_bus.errors import BadInput
from romana_bus.ipam.model.nodes import pod_key
from romana_bus.ipam.report import views

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.ipam import State
    from romana_bus.ipam.report.forecast import Forecasts
    from romana_bus.ipam.report.views import HostView, PodView


def host(state: State, name: str) -> HostView:
    """The view of one node. Raises BadInput."""
    view = views.host(state, name)
    if view is None:
        near = console.meant(sorted(other for other in state.hosts if name in other or other in name))
        raise BadInput(
            f"--host {name}: the log has no node of that name (`ipam show --all` lists the nodes){near}"
        )
    return view


def host_document(state: State, host: HostView, forecasts: Forecasts) -> dict[str, Any]:
    return {
        "host": capacity.described(host, host.usage, forecasts.host(host)),
        "pods": views.pods_on(state, host.node),
    }


def print_host(state: State, host: HostView, forecasts: Forecasts) -> None:
    gone = "" if host.in_api else "  (not in the API any more)"
    console.section(f"node {host.node}  {', '.join(host.addresses)}{gone}")
    if host.denied:
        console.hint(f"It has no place in the topology: {host.denied}")
        console.console.print()
    forecast, columns = forecasts.host(host), console.usage_columns()
    ends = ("growth", "lasts")
    table = console.table("network", "group", "pods", *columns, *ends, right=("pods", *columns[1:], *ends))
    end = capacity.end_cells(forecast, ends)
    networks, groups = ", ".join(host.groups), ", ".join(dict.fromkeys(host.groups.values()))
    table.add_row(networks, groups, console.count(host.pods), *console.usage_cells(host.usage, columns), *end)
    console.section("place", table)
    _print_blocks(host)
    pods = views.pods_on(state, host.node)
    _print_pods([pod for pod in pods if pod.addresses])
    print_cooling(pods)
    denied = console.table("pod", "why")
    for pod in pods:
        if pod.code:
            denied.add_row(pod_key(pod.namespace, pod.name), pod.reason)
    if denied.row_count:
        console.section("pods without an address", denied)


def _print_blocks(host: HostView) -> None:
    columns = tuple(name for name in console.usage_columns() if name != "blocks")
    table = console.table("block", "network", "for", *columns, right=columns[1:])
    for block in host.blocks:
        owner = "/".join(part for part in (block.tenant, block.segment) if part != "*") or "all"
        table.add_row(block.block, block.network, owner, *console.usage_cells(block.usage, columns))
    console.section("blocks", table if host.blocks else console.dim("none"))


def _print_pods(pods: list[PodView]) -> None:
    table = console.table("pod", "addresses")
    for pod in pods:
        table.add_row(pod_key(pod.namespace, pod.name), ", ".join(pod.addresses))
    if pods:
        console.section("pods with an address", table)


def print_cooling(pods: Iterable[PodView]) -> None:
    table = console.table("address", "last pod", "until")
    for pod in pods:
        for address, until in pod.cooling.items():
            table.add_row(address, pod_key(pod.namespace, pod.name), console.when(until))
    if table.row_count:
        console.section("cooling addresses", table)
