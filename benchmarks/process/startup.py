"""How long `romana-bus` takes to say what it is: the whole process, from its start to its end.

The peer is `python -c pass`, turn by turn in the same run: what no program in Python can do without.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.report import Report, times

ROUNDS, TARGET = 20, 0.25
ROMANA_BUS = Path(sys.executable).with_name("romana-bus")


def seconds(*command: str) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    report = Report("Starting the command line")
    commands = {
        "pass": (sys.executable, "-c", "pass"),
        "--help": (str(ROMANA_BUS), "--help"),
        "--version": (str(ROMANA_BUS), "--version"),
    }
    for command in commands.values():
        seconds(*command)  # with cold caches
    rounds = [{name: seconds(*command) for name, command in commands.items()} for _ in range(ROUNDS)]
    took = {name: statistics.median(each[name] for each in rounds) for name in commands}
    for name in ("--help", "--version"):
        report.add(
            f"`romana-bus {name}`, median of {ROUNDS}",
            f"{took[name]:.3f} s",
            f"`python -c pass` {took['pass']:.3f} s",
            times(took[name] / took["pass"]),
            f"≤ {TARGET} s",
            took[name] <= TARGET,
        )
    report.print()


if __name__ == "__main__":
    main()
