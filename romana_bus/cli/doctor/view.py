"""Shows what was found, to a person and to a program."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from romana_bus import __version__
from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.doctor.finding import CLUSTER, NODE, OK, UNSEEN, WARNING, WRONG

if TYPE_CHECKING:
    from romana_bus.cli.doctor.finding import Row

_COLOURS = {OK: "green", WARNING: "yellow", WRONG: "red", UNSEEN: "dim"}


def document(rows: list[Row], node: str, cluster: str) -> dict[str, Any]:
    """As JSON. `counts`: state -> how many checks."""
    checks = [
        {"check": row.name, "scope": row.scope} | row.finding._asdict() | {"details": [*row.finding.details]}
        for row in rows
    ]
    return {
        "version": __version__,
        "node": node,
        "cluster": cluster,
        "counts": counts(rows),
        "checks": checks,
    }


def counts(rows: list[Row]) -> dict[str, int]:
    found = Counter(row.finding.state for row in rows)
    return {state: found[state] for state in (OK, WARNING, WRONG, UNSEEN)}


def print_rows(rows: list[Row], node: str, cluster: str) -> None:
    """A table for each scope, and below each row that is not well what it means and what to do."""
    for scope, title in ((NODE, f"node {node}, this machine"), (CLUSTER, f"cluster {cluster}")):
        of_scope = [row for row in rows if row.scope == scope]
        if not of_scope:
            continue
        if len(same := {row.finding for row in of_scope}) == 1 and of_scope[0].finding.state == UNSEEN:
            console.section(title, console.dim(f"not checked: {same.pop().found}"))
            continue
        table = console.table("check", "state", "found")
        table.show_header = False
        for row in of_scope:
            for line in _lines(row):
                table.add_row(*line)
        console.section(title, table)
    found = counts(rows)
    console.console.print(", ".join(f"{count} {state}" for state, count in found.items() if count))


def _lines(row: Row) -> list[tuple[str | Text, str | Text, str | Text]]:
    finding = row.finding
    state = Text(finding.state, _COLOURS[finding.state])
    lines: list[tuple[str | Text, str | Text, str | Text]] = [(row.name, state, finding.found)]
    lines += [("", "", f"  {detail}") for detail in finding.details]
    if finding.more:
        lines.append(("", "", console.dim(f"  and {finding.more:,} more")))
    if finding.means:
        lines.append(("", "", console.dim(f"means: {finding.means}")))
    if finding.do:
        lines.append(("", "", Text(f"do: {finding.do}", "yellow")))
    return lines
