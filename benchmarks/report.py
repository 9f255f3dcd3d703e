"""What a benchmark says: one table, with the machine and the day under it."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table


class Row(msgspec.Struct):
    """`target`: '' where nothing was promised; `met` is what the numbers say, None without a target."""

    what: str
    ours: str
    peer: str = ""
    ratio: str = ""
    target: str = ""
    met: bool | None = None


@dataclass
class Report:
    title: str
    rows: list[Row] = field(default_factory=list)

    def add(
        self,
        what: str,
        ours: str,
        peer: str = "",
        ratio: str = "",
        target: str = "",
        met: bool | None = None,
    ) -> None:
        self.rows.append(Row(what, ours, peer, ratio, target, met))

    def print(self) -> None:
        """For people; as JSON where `python -m benchmarks` asks for it."""
        if "--json" in sys.argv:
            print(msgspec.json.encode([self.title, self.rows]).decode())
            return
        table = Table(
            "measured", "ours", "peer", "ratio", "target", "", title=self.title, title_justify="left"
        )
        for row in self.rows:
            table.add_row(row.what, row.ours, row.peer, row.ratio, row.target, verdict(row))
        console = Console(width=None if sys.stdout.isatty() else 160)
        console.print(table)
        console.print(f"[dim]{machine()}[/]")


def verdict(row: Row) -> str:
    return "" if row.met is None else "met" if row.met else "MISSED"


def markdown(reports: list[Report]) -> str:
    lines = ["| measured | ours | peer | ratio | target | |", "|---|---|---|---|---|---|"]
    for report in reports:
        lines.append(f"| **{report.title}** | | | | | |")
        lines += [
            f"| {row.what} | {row.ours} | {row.peer} | {row.ratio} | {row.target} | {verdict(row)} |"
            for row in report.rows
        ]
    return "\n".join([*lines, "", machine()])


def machine() -> str:
    memory = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    gigabytes = int(memory.split()[1]) / 1e6
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {gigabytes:.0f} GB, "
        f"Linux {platform.release().split('-')[0]}, CPython {platform.python_version()}; "
        "server, peers and ourselves share the cores"
    )


def rate(count: float, seconds: float) -> str:
    return f"{count / seconds:,.0f}/s"


def times(ratio: float) -> str:
    return f"{ratio:.2f}×" if ratio < 10 else f"{ratio:.0f}×"
