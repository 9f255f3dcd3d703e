"""Benchmarks by name, or all, one after the other, and the table of them as Markdown."""

from __future__ import annotations

import subprocess
import sys

import msgspec

from benchmarks.report import Report, Row, markdown

#: Each benchmark by name, with its package, in the order in which they run.
ALL = {
    "ipam": "core",
    "waiting": "core",
    "watch": "kubernetes",
    "publish": "log",
    "boot": "log",
    "dead": "log",
    "latency": "log",
    "routes": "node",
    "cni": "node",
    "runtimes": "node",
    "drift": "node",
    "idle": "node",
    "agents": "node",
    "failover": "log",
    "fuzz": "process",
    "simulation": "core",
    "startup": "process",
    "permissions": "log",
}


def main() -> None:
    names, reports = sys.argv[1:] or list(ALL), []
    if unknown := [name for name in names if name not in ALL]:
        raise SystemExit(f"no benchmark named {', '.join(unknown)}: there are {', '.join(ALL)}")
    for name in names:
        print(f"measuring {name} ...", file=sys.stderr, flush=True)
        said = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{ALL[name]}.{name}", "--json"],
            check=True,
            stdout=subprocess.PIPE,
        )
        title, rows = msgspec.json.decode(said.stdout, type=tuple[str, list[Row]])
        report = Report(title, rows)
        report.print()
        reports.append(report)
    print("\n" + markdown(reports))


if __name__ == "__main__":
    main()
