"""How many small changes to the pure core the tests notice, by mutmut: a seeded sample, a table by module, and
every change that nobody noticed. `[tool.mutmut]` in pyproject.toml says what is changed and which tests run."""

from __future__ import annotations

import argparse
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

MUTMUT = Path(sys.executable).with_name("mutmut")
#: Changes that no test can notice: what `equivalents.txt` lists, a name and a reason for each.
EQUIVALENTS = Path(__file__).with_name("equivalents.txt")
NOTICED = ("killed", "timeout")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sample", type=int, default=400, help="how many changes are tried; 0: all")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    shutil.rmtree("mutants", ignore_errors=True)
    mutmut("run", "--max-children", "1", "none-of-them")  # makes them all, and finds out which tests run what
    names = sorted(results())
    if not names:
        raise SystemExit("mutmut has made nothing: `.venv/bin/mutmut run` says why")
    count = min(chosen.sample or len(names), len(names))
    sample = random.Random(chosen.seed).sample(names, count)
    mutmut("run", "--max-children", "1", *sample)
    report({name: state for name, state in results().items() if name in set(sample)}, len(names))


def mutmut(*arguments: str) -> str:
    return subprocess.run([MUTMUT, *arguments], capture_output=True, text=True, check=False).stdout


def results() -> dict[str, str]:
    """Each change by name, and what became of it."""
    lines = re.findall(r"^    (\S+): (.+)$", mutmut("results", "--all", "true"), re.MULTILINE)
    return dict(lines)


def report(results: dict[str, str], of: int) -> None:
    made, noticed, survived = Counter[str](), Counter[str](), []
    for name, state in sorted(results.items()):
        module = name.rpartition(".")[0]
        made[module] += 1
        noticed[module] += state in NOTICED
        if state not in NOTICED:
            survived.append((name, state))
    for name, state in survived:
        print(f"\n{state}: {mutmut('show', name).strip()}")
    print(f"\n| module | changes | noticed |\n|---|---|---|")
    for module, count in sorted(made.items()):
        print(f"| {module.removeprefix('romana_bus.')} | {count} | {noticed[module] / count:.0%} |")
    total, all_noticed = made.total(), noticed.total()
    print(f"| **all** ({total} of {of:,}) | {total} | **{all_noticed / total:.1%}** |")


if __name__ == "__main__":
    main()
