"""The result of a test: counts for the table, and what failed, where. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.connectivity.checks import PLACES
from romana_bus.connectivity.diagnosis import Reach, stopped
from romana_bus.connectivity.model import KINDS, End

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from romana_bus.connectivity.model import Check, Outcome


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """The checks of one kind, place and family. `family`: 4, 6, or 0 for a name."""

    what: str
    family: int
    passed: int
    failed: int


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A check that failed. `source`, `target`: as in `pod on a1`. `error`: what the connection failed with.
    `stopped`: where the packets stop."""

    what: str
    source: str
    target: str
    address: str
    port: int
    error: str
    stopped: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """`passed`: whether everything did. `problems`: why checks are missing, such as a probe that did not
    start; they count as failed. `skipped`: what was left out on purpose, with the reason."""

    passed: bool
    nodes: tuple[str, ...]
    rows: tuple[Row, ...]
    failures: tuple[Failure, ...]
    problems: tuple[str, ...]
    skipped: tuple[str, ...]


def judge(
    outcomes: Sequence[Outcome], problems: Iterable[str], skipped: Iterable[str], nodes: Iterable[str]
) -> Report:
    reach = Reach(outcomes)
    counts: dict[tuple[str, int], list[bool]] = {}
    for outcome in sorted(outcomes, key=_order):
        key = _what(outcome.check), outcome.check.family
        counts.setdefault(key, []).append(outcome.ok)
    rows = tuple(
        Row(what=what, family=family, passed=sum(results), failed=len(results) - sum(results))
        for (what, family), results in counts.items()
    )
    failures = tuple(_failure(outcome, reach) for outcome in outcomes if not outcome.ok)
    problems = tuple(problems)
    return Report(
        passed=not failures and not problems and bool(rows),
        nodes=tuple(nodes),
        rows=rows,
        failures=failures,
        problems=problems,
        skipped=tuple(skipped),
    )


def _order(outcome: Outcome) -> tuple[int, int, str, int]:
    check = outcome.check
    return list(KINDS).index(check.kind), PLACES.index(check.place), _what(check), check.family


def _what(check: Check) -> str:
    """As in `pod to pod, same zone`."""
    name = KINDS[check.kind] if check.kind != "api" else f"{check.source.kind} to API server"
    return f"{name}, {check.place}" if check.place else name


def _failure(outcome: Outcome, reach: Reach) -> Failure:
    check = outcome.check
    target = End("name", "") if check.kind == "dns" else check.target
    return Failure(
        what=_what(check),
        source=str(check.source),
        target=str(target),
        address=check.address,
        port=check.port,
        error=outcome.said,
        stopped=stopped(outcome, reach),
    )
