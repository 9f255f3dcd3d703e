"""What `romana-bus up` shows while it runs: zones with their nodes, prefixes with their use, events as
they come, and lag. Rendering only: it is given the state."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from rich.console import Group
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from romana_bus import telemetry
from romana_bus.cli import show
from romana_bus.ipam import view

if TYPE_CHECKING:
    from rich.console import RenderableType

    from romana_bus.ipam import State
    from romana_bus.ipam.view import HostView

#: With more nodes than that only the zones are listed.
NODES_SHOWN = 24

COLOURS = {
    "Gone": "red", "Denied": "red", "Failed": "red", "Released": "yellow", "Removed": "yellow",
    "Assigned": "green", "Placed": "cyan", "Opened": "cyan", "Elected": "magenta",
}  # fmt: skip


class LiveView:
    """`title`: what is watched. `lines`: the latest events."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: deque[Text] = deque(maxlen=200)
        self.seen = 0

    def add(self, line: str, kind: str) -> None:
        colour = next((colour for ending, colour in COLOURS.items() if kind.endswith(ending)), "")
        self.lines.append(Text(line, style=colour, no_wrap=True, overflow="ellipsis"))
        self.seen += 1

    def render(self, state: State, height: int, problems: list[str]) -> RenderableType:
        hosts = view.hosts(state)
        zones = zones_table(state, hosts)
        rows = zones.row_count + 4
        layout = Layout()
        layout.split_column(
            Layout(self._head(state, hosts, problems), size=2),
            Layout(Panel(zones, title="zones and nodes", border_style="dim"), size=min(rows, height // 2)),
            Layout(self._events(max(3, height - min(rows, height // 2) - 4)), name="events"),
        )
        return layout

    def _head(self, state: State, hosts: tuple[HostView, ...], problems: list[str]) -> RenderableType:
        pods = sum(host.pods for host in hosts)
        waiting = sum(host.waiting for host in hosts)
        parts = [f"[bold]romana-bus[/] {self.title}", f"{len(hosts)} nodes", f"{len(state.pods)} pods"]
        parts.append(f"[green]{pods} with an address[/]")
        if waiting:
            parts.append(f"[red]{waiting} waiting[/]")
        parts.append(lag())
        trouble = "; ".join([*problems, *([state.obstacle] if state.obstacle else [])])
        return Group(
            Text.from_markup("  ·  ".join(parts), overflow="ellipsis"),
            Text(trouble, style="yellow", no_wrap=True, overflow="ellipsis"),
        )

    def _events(self, rows: int) -> RenderableType:
        lines = list(self.lines)[-rows:]
        return Panel(Group(*lines), title=f"events ({self.seen:,})", border_style="dim")


def lag() -> str:
    """How far each consumer of this process is behind its streams."""
    behind: dict[str, int] = {}
    for metric in telemetry.LAG.collect():
        for sample in metric.samples:
            name = sample.labels["consumer"]
            behind[name] = behind.get(name, 0) + int(sample.value)
    return "lag " + ", ".join(f"{name} {count:,}" for name, count in sorted(behind.items()))


def zones_table(state: State, hosts: tuple[HostView, ...]) -> Table:
    """Each group that takes nodes, with its prefix and use, and, if they are few, its nodes."""
    table = Table(box=None, pad_edge=False, expand=True)
    for column in ("group or node", "prefix or address", "use"):
        table.add_column(column, no_wrap=True)
    for column in ("pods", "free", "blocks"):
        table.add_column(column, justify="right", no_wrap=True)
    few = len(hosts) <= NODES_SHOWN
    for network in view.networks(state):
        for group in network.groups:
            if not group.leaf:
                continue
            members = [host for host in hosts if host.groups.get(network.network) == group.group]
            pods = str(sum(host.pods for host in members))
            room = group.room
            name = f"[bold]{group.group}[/] [dim]({len(members)} nodes)[/]"
            table.add_row(
                name, group.prefix, show.use(room), pods, show.count(room.free), show.count(room.blocks)
            )
            for host in members if few else ():
                blocks = ", ".join(block.block for block in host.blocks[:3])
                more = f" +{len(host.blocks) - 3}" if len(host.blocks) > 3 else ""
                table.add_row(
                    f"  {host.node}", ", ".join(host.addresses), f"[dim]{blocks}{more}[/]",
                    str(host.pods), show.count(host.room.free), str(host.room.blocks),
                )  # fmt: skip
    for host in hosts:
        if host.denied and few:
            table.add_row(f"[red]{host.node}[/]", ", ".join(host.addresses), f"[red]{host.denied}[/]")
    return table
