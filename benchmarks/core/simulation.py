"""Simulated days a minute (`tests/simulation`), on all cores. There is no peer."""

from __future__ import annotations

import time

from benchmarks.report import Report
from tests.simulation.days import days

DAYS = 200


def main() -> None:
    report = Report("Deterministic simulation")
    begun = time.monotonic()
    wrong = sum(bool(one.violations) for one in days(50_001, DAYS))
    a_minute = DAYS / (time.monotonic() - begun) * 60
    report.add("days of a small cluster with faults, on all cores", f"{a_minute:,.0f} a minute")
    report.add(f"days of {DAYS:,} that ended badly", f"{wrong}", target="0", met=not wrong)
    report.print()


if __name__ == "__main__":
    main()
