"""Usage, exhaustion and waiting pods: the tables of `ipam show`, and its JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.ipam.shortages import print_unplaced, waiting
from romana_bus.ipam.report import views
from romana_bus.ipam.report.exhaustion import Exhaustion
from romana_bus.ipam.report.forecast import Forecasts
from romana_bus.ipam.report.lookup import reserved
from romana_bus.ipam.report.pinned import pinned
from romana_bus.ipam.report.tenants import tenants

if TYPE_CHECKING:
    from rich.console import RenderableType

    from romana_bus.ipam import State
    from romana_bus.ipam.model.usage import Usage
    from romana_bus.ipam.report.forecast import Forecast
    from romana_bus.ipam.report.views import NetworkView

#: Characters for a node's name and address, which the table of groups does not need.
BESIDE = 20


def document(state: State, forecasts: Forecasts) -> dict[str, Any]:
    """The output of `ipam show --json`."""
    growth = forecasts.growth
    return {
        "networks": [
            described(network, network.usable, forecasts.network(network))
            | {"groups": [described(group, group.usage, forecasts.group(group)) for group in network.groups]}
            for network in forecasts.networks
        ],
        "tenants": [
            msgspec.to_builtins(tenant)
            | {"fragmentation": {family: _percent(usage) for family, usage in tenant.usage.items()}}
            | msgspec.to_builtins(forecasts.tenant(tenant))
            for tenant in tenants(state, forecasts.networks)
        ],
        "hosts": [described(host, host.usage, forecasts.host(host)) for host in views.hosts(state)],
        "reserved": reserved(state),
        "pinned": pinned(state),
        "full": Exhaustion(state).full,
        "waiting": waiting(state),
        "window": {"since": growth.since, "until": growth.until} if growth else None,
        "obstacle": state.obstacle,
    }


def described(view: msgspec.Struct, usage: Usage, forecast: Forecast) -> dict[str, Any]:
    """The fields of the view, its fragmentation and its forecast."""
    fields: dict[str, Any] = msgspec.to_builtins(view)
    ends: dict[str, Any] = msgspec.to_builtins(forecast)
    return fields | {"fragmentation": _percent(usage)} | ends


def _percent(usage: Usage) -> float:
    return round(usage.fragmentation, 1)


def print_networks(state: State, forecasts: Forecasts | None = None, every: bool = False) -> None:
    for network in forecasts.networks if forecasts else views.networks(state):
        for_whom = ", ".join(network.tenants) or "everyone"
        title = (
            f"network {network.network}  {network.prefix}, blocks of /{network.block_mask}, for {for_whom}"
        )
        columns, ends = console.usage_columns(), end_columns(forecasts)
        table = console.table(
            "group", "prefix", "nodes", *columns, *ends, right=("nodes", *columns[1:], *ends)
        )
        leaves = [group for group in network.groups if group.leaf]
        if len(leaves) > console.ROWS and not every:
            leaves.sort(key=lambda group: -group.usage.fullness)
        shown, more = console.first(leaves, every)
        for group in shown:
            end = end_cells(forecasts.group(group) if forecasts else None, ends)
            table.add_row(
                group.group,
                group.prefix,
                console.count(group.hosts),
                *console.usage_cells(group.usage, columns),
                *end,
            )
        if len(leaves) > 1:
            end = end_cells(forecasts.network(network) if forecasts else None, ends)
            cells = (
                "together",
                "",
                console.count(network.hosts),
                *console.usage_cells(network.usable, columns),
                *end,
            )
            table.add_row(*cells, style="dim")
        parts: list[RenderableType] = [table] if table.row_count else []
        console.section(
            title, *parts, *console.and_more(more, f"the fullest are shown; {console.ALL}"), *closed(network)
        )


def end_columns(forecasts: Forecasts | None) -> tuple[str, ...]:
    """The columns of a forecast, if there is one: how long addresses last, and the growth if the terminal is
    wide."""
    if forecasts is None:
        return ()
    return ("growth", "lasts") if console.console.width >= console.NARROW else ("lasts",)


def end_cells(forecast: Forecast | None, columns: tuple[str, ...]) -> tuple[str | Text, ...]:
    if forecast is None:
        return ()
    cells = (console.rate(forecast.growth), console.lasts(forecast.hours_left))
    return cells[-len(columns) :]


def closed(network: NetworkView) -> list[Text]:
    """One line about the prefixes that are kept for later groups."""
    prefixes = [group.prefix for group in network.groups if group.closed]
    if not prefixes:
        return []
    which = ", ".join(prefixes[:2]) + (", ..." if len(prefixes) > 2 else "")
    return [
        console.dim(f"kept for later groups: {console.many(len(prefixes), 'prefix', 'prefixes')} ({which})")
    ]


def print_tenants(state: State, forecasts: Forecasts, every: bool = False) -> None:
    rows = sorted(tenants(state, forecasts.networks), key=lambda tenant: (-tenant.used, tenant.tenant))
    if not rows:
        return
    shown, more = console.first(rows, every)
    omitted = () if console.console.width >= console.NARROW else ("used", "cooling", "blocks")
    counts = [name for name in ("pods", "used", "cooling", "waiting", "blocks") if name not in omitted]
    ends = end_columns(forecasts)
    right = (*counts, "free there", *ends)
    table = console.table("tenant", *counts, "networks", "free there", *ends, right=right)
    for tenant in shown:
        cells = [
            Text(console.count(getattr(tenant, name)), "red" if name == "waiting" and tenant.waiting else "")
            for name in counts
        ]
        free = console.count(min((usage.free for usage in tenant.usage.values()), default=0))
        networks = ", ".join(tenant.networks) or Text("none", "red")
        table.add_row(tenant.tenant, *cells, networks, free, *end_cells(forecasts.tenant(tenant), ends))
    console.section("tenants (namespaces)", table, *console.and_more(more, console.ALL))


def print_hosts(state: State, forecasts: Forecasts | None = None, every: bool = False) -> None:
    if not state.hosts:
        return
    columns, ends = console.usage_columns(BESIDE), end_columns(forecasts)
    narrow = "blocks" not in columns
    hosts = list(views.hosts(state))
    if len(hosts) > console.ROWS and not every:
        hosts.sort(key=lambda host: (-host.usage.fullness, host.node))
    names = ("node", *(() if narrow else ("address",)), "group", "pods", *columns, *ends)
    table = console.table(*names, right=("pods", *columns[1:], *ends))
    shown, more = console.first(hosts, every)
    for host in shown:
        group = ", ".join(dict.fromkeys(host.groups.values())) or Text("none", "red")
        usage = console.usage_cells(host.usage, columns) if host.usage.size else ("",) * len(columns)
        end = end_cells(forecasts.host(host) if forecasts else None, ends)
        address = () if narrow else (", ".join(host.addresses),)
        table.add_row(host.node, *address, group, console.count(host.pods), *usage, *end)
    note = console.and_more(more, f"the fullest are shown; --host NAME shows one, {console.ALL}")
    console.section("nodes", table, *note)
    print_unplaced([(host.node, host.denied) for host in hosts if host.denied], every)
