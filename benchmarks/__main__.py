"""All benchmarks, one after the other, and the table of them as Markdown."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from benchmarks.report import Report, Row, markdown

ALL = (
    "ipam",
    "watch",
    "publish",
    "boot",
    "latency",
    "routes",
    "cni",
    "failover",
    "fuzz",
    "simulation",
    "startup",
)


def main() -> None:
    reports = []
    for name in sys.argv[1:] or ALL:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        said = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", "--json"], check=True, stdout=subprocess.PIPE
        )
        title, rows = msgspec.json.decode(said.stdout, type=tuple[str, list[Row]])
        report = Report(title, rows)
        report.print()
        reports.append(report)
    print("\n" + markdown(reports))


if __name__ == "__main__":
    main()
