"""Hostile input a second, and how many processes it ends.

The fuzzer's own cluster of real processes (`tests/fuzz/`): NATS, a watcher, two address deciders and, as
root, an agent. Each round sends messages to the log, lines and answers to the watcher, and frames to the
agent's socket; then all has to be as it was. The rate counts from the first byte until all are ready again
and every pod has its address. No peer: nothing else takes the same input.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks import stage
from benchmarks.report import Report, rate
from tests.fuzz.attack import attack
from tests.fuzz.checks import Checks
from tests.fuzz.site import Site

SEED, ROUNDS = 1, 3


def main() -> None:
    report = Report("Hostile input")
    sent, seconds = Counter[str](), 0.0
    with tempfile.TemporaryDirectory(prefix="romana-bench-") as scratch, Site(Path(scratch)) as site:
        checks = Checks(site)
        for seed in range(SEED, SEED + ROUNDS):
            began = time.perf_counter()
            sent += attack(site, seed)
            site.until_ready()
            seconds += time.perf_counter() - began
            checks.stands_as_before()
        ends, most = len(site.ended()), max(stage.resident(pid, "VmHWM") for pid in site.pids.values())
    report.add(f"inputs ({_kinds(sent)}), until all is as it was", rate(sent.total(), seconds))
    report.add("processes that ended", str(ends), target="0", met=ends == 0)
    report.add("resident memory of the largest of them, at most", f"{most:.0f} MiB")
    report.print()


def _kinds(sent: Counter[str]) -> str:
    return ", ".join(f"{count:,} {kind}" for kind, count in sent.items() if count)


if __name__ == "__main__":
    main()
