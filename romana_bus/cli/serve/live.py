"""The live view of `romana-bus up`: zones with nodes, prefixes with their use, events, and lag. Rendering
only."""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING

from rich.console import Group
from rich.layout import Layout
from rich.panel import Panel
from rich.table import Table

from romana_bus import metrics
from romana_bus.cli.common import console, event_text
from romana_bus.cli.common.terminal import Text
from romana_bus.ipam.report import views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from romana_bus.bus.api import Message
    from romana_bus.events import Event
    from romana_bus.ipam import State
    from romana_bus.ipam.report.views import GroupView, HostView

Row = tuple[Text, ...]

#: The least lines for events, however many zones there are.
EVENTS_AT_LEAST = 5
#: How many nodes without a placement are named; `ipam show` lists all.
DENIED_SHOWN = 3
#: Columns from which on the names of blocks are shown.
WIDE = 110

#: The colour codes in log lines for a terminal.
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
COLOURS = {
    "Gone": "red", "Denied": "red", "Failed": "red", "Released": "yellow", "Removed": "yellow",
    "Assigned": "green", "Placed": "cyan", "Opened": "cyan", "Elected": "magenta",
}  # fmt: skip


class LiveView:
    """The view. `title`: what is watched. `lines`: the latest events and log lines."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: deque[Text] = deque(maxlen=200)
        self.seen = 0

    def add(self, role: str, message: Message, event: Event, width: int) -> None:
        kind = type(event).__name__
        line = (
            event_text.line(role, message, event) if width >= WIDE else event_text.short_line(message, event)
        )
        colour = next((colour for ending, colour in COLOURS.items() if kind.endswith(ending)), "")
        self.lines.append(_one_line(Text(line, style=colour)))
        self.seen += 1

    def write(self, text: str) -> int:
        """Take log lines: the view replaces stderr, which it would overwrite."""
        for line in filter(None, COLOUR.sub("", text).split("\n")):
            self.lines.append(_one_line(Text(line, "yellow")))
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False

    def render(self, state: State, width: int, height: int, problems: list[str]) -> RenderableType:
        head = _head(self.title, state, problems)
        zones = _zones(state, width, height - len(head) - EVENTS_AT_LEAST - 5)
        layout = Layout()
        layout.split_column(
            Layout(Group(*head), size=len(head)),
            Layout(Panel(zones, title="zones and nodes", border_style="dim"), size=zones.row_count + 3),
            Layout(self._events(height - len(head) - zones.row_count - 5)),
        )
        return layout

    def _events(self, rows: int) -> RenderableType:
        lines = list(self.lines)[-max(rows, 1) :]
        waiting = Text("none yet", style="dim")
        return Panel(Group(*(lines or [waiting])), title=f"events ({self.seen:,})", border_style="dim")


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text


def _head(title: str, state: State, problems: list[str]) -> list[Text]:
    """The title, the counts, and the problems if there are any."""
    now = views.totals(state)
    counts = Text.assemble(
        f"{console.many(now.nodes, 'node')}  ·  {console.many(now.pods, 'pod')}  ·  ",
        (f"{now.held:,} of {now.wanting:,} have an address", "green" if now.held >= now.wanting else "red"),
        f"  ·  {lag()}",
    )
    lines = [Text.assemble(("romana-bus", "bold"), "  ", title), counts]
    if trouble := "; ".join([*problems, *([state.obstacle] if state.obstacle else [])]):
        lines.append(Text(trouble, style="yellow"))
    return [_one_line(line) for line in lines]


def lag() -> str:
    """The lag of this process's consumers."""
    behind: dict[str, int] = {}
    for metric in metrics.LAG.collect():
        for sample in metric.samples:
            name = sample.labels["consumer"]
            behind[name] = behind.get(name, 0) + int(sample.value)
    return "lag " + (", ".join(f"{name} {count:,}" for name, count in sorted(behind.items()) if count) or "0")


def _zones(state: State, width: int, rows: int) -> Table:
    """Each group with nodes, its prefix and use, and, if all of them fit on the screen, its nodes."""
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    table.add_column(_one_line(Text("group or node")), ratio=1)
    for column in ("prefix or address", "use"):
        table.add_column(column, no_wrap=True)
    for column in ("pods", "free", "blocks"):
        table.add_column(column, justify="right", no_wrap=True)
    hosts = views.hosts(state)
    shown = list(_rows(state, hosts, width, nodes=True))
    if len(shown) > rows:
        shown = list(_rows(state, hosts, width, nodes=False))
    more = max(0, len(shown) - max(rows, 1))
    for name, *cells in shown[: -more - 1] if more else shown:
        table.add_row(_one_line(name), *cells)
    if more:
        table.add_row(_one_line(Text(f"and {more + 1} more: see `romana-bus ipam show`", "dim")))
    if not shown:
        table.add_row(_one_line(Text("no nodes yet", "dim")))
    return table


def _rows(state: State, hosts: tuple[HostView, ...], width: int, nodes: bool) -> Iterator[Row]:
    denied = [host for host in hosts if host.denied]
    for host in denied if nodes else denied[:DENIED_SHOWN]:
        yield Text(f"{host.node}: {host.denied}", "red"), Text(", ".join(host.addresses))
    for network in views.networks(state):
        for group in network.groups:
            if not group.leaf:
                continue
            members = [host for host in hosts if host.groups.get(network.network) == group.group]
            yield _group(group, members)
            for host in members if nodes else ():
                yield _node(host, network.network, width)


def _group(group: GroupView, members: list[HostView]) -> Row:
    usage, pods = group.usage, sum(host.pods for host in members)
    name = Text.assemble((group.group, "bold"), (f" ({console.many(len(members), 'node')})", "dim"))
    numbers = (console.count(number) for number in (pods, usage.free, usage.blocks))
    return (name, Text(group.prefix), Text(console.usage_bar(usage)), *map(Text, numbers))


def _node(host: HostView, network: str, width: int) -> Row:
    own = [block.block for block in host.blocks if block.network == network]
    blocks = str(len(own))
    if width >= WIDE:
        blocks = ", ".join(own[:2]) + (f" +{len(own) - 2}" if len(own) > 2 else "")
    usage = console.usage_bar(host.usage) if host.usage.size else ""
    cells = (", ".join(host.addresses), usage, str(host.pods), console.count(host.usage.free), blocks)
    return (Text(f"  {host.node}"), *(Text(cell, "dim") for cell in cells))
