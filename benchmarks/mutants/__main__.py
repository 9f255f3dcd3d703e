"""How many small changes to the pure core the tests notice, by mutmut: a seeded sample, a table by module,
and every change that nobody noticed. `[tool.mutmut]` in pyproject.toml says what is changed, and which tests
run. Left out are changes to the wording of a sentence, and those that `equivalents.txt` gives a reason for.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant

MUTMUT = str(Path(sys.executable).with_name("mutmut"))
EQUIVALENTS = Path(__file__).with_name("equivalents.txt")
NOTICED = ("killed", "timeout")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sample", type=int, default=400, help="how many changes are tried; 0: all")
    options.add_argument("--seed", default="1")
    chosen = options.parse_args()
    shutil.rmtree("mutants", ignore_errors=True)
    mutmut("run", "--max-children", "1", "none-of-them")  # makes them all, and learns which tests run what
    names = sorted(results(), key=lambda name: hashlib.sha256(f"{chosen.seed} {name}".encode()).digest())
    if not names:
        raise SystemExit("mutmut has made nothing: `.venv/bin/mutmut run` says why")
    known, sample = equivalents(), dict[str, str]()
    for name in names:
        if len(sample) == (chosen.sample or len(names)):
            break
        diff = get_diff_for_mutant(name, path=path_of(name))
        if not is_wording(diff) and change(name, diff) not in known:
            sample[name] = diff
    said = mutmut("run", "--max-children", "1", *sample)
    found = {name: state for name, state in results().items() if name in sample}
    if "not checked" in found.values():
        raise SystemExit(said[-4000:])
    report(found, sample, len(names))


def mutmut(*arguments: str) -> str:
    command = [MUTMUT, *arguments]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return said.stdout


def results() -> dict[str, str]:
    """Each change by name, and what became of it."""
    return dict(re.findall(r"^    (\S+): (.+)$", mutmut("results", "--all", "true"), re.MULTILINE))


def path_of(name: str) -> str:
    path = name.rpartition(".")[0].replace(".", "/")
    return f"{path}/__init__.py" if Path(path).is_dir() else f"{path}.py"


def lines(diff: str) -> tuple[str, str]:
    """What is taken out and what comes in, each in one line."""
    body = [line for line in diff.splitlines() if not line.startswith(("---", "+++"))]
    old, new = (" ".join(line[1:].strip() for line in body if line.startswith(sign)) for sign in "-+")
    return old, new


def is_wording(diff: str) -> bool:
    """Only letters of a sentence for people are others: a string with a space in it."""
    old, new = lines(diff)
    if new.replace("XX", "") != old and new.lower() != old.lower():
        return False
    at = next((at for at, (one, two) in enumerate(zip(old, new, strict=False)) if one != two), 0)
    begin = max(old.rfind(quote, 0, at) for quote in "'\"")
    return begin >= 0 and " " in old[begin + 1 :].split(old[begin])[0]


def change(name: str, diff: str) -> str:
    """As `equivalents.txt` names it: the function, and what became of which line."""
    old, new = lines(diff)
    return f"{name.rpartition('__mutmut_')[0]}: {old} -> {new}"


def equivalents() -> set[str]:
    """Changes that no test can notice. A line for each, as `change` gives it; its reason stands behind #."""
    if not EQUIVALENTS.exists():
        return set()
    return {line.rpartition("  # ")[0] for line in EQUIVALENTS.read_text().splitlines() if "  # " in line}


def report(results: dict[str, str], diffs: dict[str, str], of: int) -> None:
    made, noticed = Counter[str](), Counter[str]()
    for name, state in sorted(results.items()):
        module = name.rpartition(".")[0]
        made[module] += 1
        noticed[module] += state in NOTICED
        if state not in NOTICED:
            print(f"\n{state}: {change(name, diffs[name])}\n{diffs[name]}")
    print("\n| module | changes | noticed |\n|---|---|---|")
    for module, count in sorted(made.items()):
        print(f"| {module.removeprefix('romana_bus.')} | {count} | {noticed[module] / count:.0%} |")
    total = made.total()
    print(f"| **all** ({total} of {of:,}) | {total} | **{noticed.total() / total:.1%}** |")


if __name__ == "__main__":
    main()
