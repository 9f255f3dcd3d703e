"""The report of a connectivity test, for a person or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from romana_bus.cli.common.options import Output
    from romana_bus.connectivity.report import Failure, Report, Row

#: The column of each family; a name is resolved to any.
_COLUMNS = {4: "IPv4", 6: "IPv6", 0: "by name"}


def show(report: Report, output: Output) -> None:
    if output.json:
        console.as_json(report)
        return
    console.console.print()
    if report.rows:
        console.section(f"connectivity of {console.many(len(report.nodes), 'node')}", _table(report.rows))
    if report.failures:
        console.section("failed", _failures(report.failures))
    if report.problems:
        console.section("not tested", *(Text(problem, "red") for problem in report.problems))
    if report.skipped:
        console.section("left out", *(console.dim(text) for text in report.skipped))
    if report.passed:
        console.console.print(Text("Everything that was tested passed.", "green"))


def _table(rows: Sequence[Row]) -> Table:
    families = [family for family in _COLUMNS if any(row.family == family for row in rows)]
    table = console.table("check", *(_COLUMNS[family] for family in families))
    for what in dict.fromkeys(row.what for row in rows):
        cells = {row.family: _cell(row) for row in rows if row.what == what}
        table.add_row(what, *(cells.get(family, Text()) for family in families))
    return table


def _cell(row: Row) -> Text:
    return Text(f"{row.passed} of {row.passed + row.failed}", "red" if row.failed else "green")


def _failures(failures: Sequence[Failure]) -> Table:
    """A line for each target and place: one fault lets many checks fail."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.target, failure.stopped), []).append(failure)
    table = console.table("from", "to", "address", "error", "stopped")
    for (target, stopped), group in list(groups.items())[: console.ROWS]:
        columns = (each.source for each in group), (_address(each) for each in group)
        sources, addresses = (", ".join(dict.fromkeys(column)) for column in columns)
        errors = "; ".join(dict.fromkeys(each.error for each in group))
        table.add_row(sources, target, addresses, errors, Text(stopped, "red"))
    if len(groups) > console.ROWS:
        table.add_row(f"... {len(groups) - console.ROWS} more: --json has all", "", "", "", "")
    return table


def _address(failure: Failure) -> str:
    host = f"[{failure.address}]" if ":" in failure.address else failure.address
    return f"{host}:{failure.port}"
