"""`make simulate SEEDS=10000`: that many days on all cores; the story of the first one that goes wrong.

python -m tests.simulation --seeds 1000 [--first 1] [--defect NAME | --defects] [--story SEED]
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.simulation.day import live
from tests.simulation.days import day, days
from tests.simulation.defects import DEFECTS

if TYPE_CHECKING:
    from tests.simulation.day import Day

#: Within how many seeds a defect has to be found.
AT_MOST = 1000
SCREEN = Console(width=200, highlight=False, markup=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make simulate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=300, help="how many days")
    parser.add_argument("--first", type=int, default=1, help="the seed of the first day")
    parser.add_argument("--story", type=int, help="tell the day of this seed, and nothing else")
    parser.add_argument("--defect", choices=sorted(DEFECTS), help="with this defect put back")
    parser.add_argument("--defects", action="store_true", help="how many seeds each defect needs to be found")
    options = parser.parse_args(arguments)
    if options.story is not None:
        return print_day(day(options.story, options.defect))
    if options.defects:
        return find_defects(options.first)
    begun, done = time.monotonic(), 0
    for one in days(options.first, options.seeds, options.defect):
        done += 1
        if one.violations:
            return print_day(one)
    minutes = (time.monotonic() - begun) / 60
    SCREEN.print(f"{done:,} days without a violation, {done / minutes:,.0f} a minute")
    return 0


def print_day(one: Day) -> int:
    """Its story. Gives the exit code."""
    SCREEN.print("\n".join(one.story))
    if not one.violations:
        SCREEN.print(f"seed {one.seed}: no violation; what is on the log at the end: {one.digest}")
        return 0
    SCREEN.print(f"\nseed {one.seed} ({', '.join(dict.fromkeys(one.faults))}) went wrong:")
    SCREEN.print("\n".join(f"  {what}" for what in one.violations))
    SCREEN.print(f"again: python -m tests.simulation --story {one.seed}")
    return 1


def find_defects(first: int) -> int:
    table = Table("defect put back", "seeds needed", "seed", "found by", title="what the simulation finds")
    missed = 0
    for name in DEFECTS:
        wrong = (one for one in days(first, AT_MOST, name) if one.violations)
        found = next((one for one in wrong if not live(one.seed).violations), None)  # by the defect alone
        missed += found is None
        if found is None:
            table.add_row(name, f"more than {AT_MOST:,}", "", "")
        else:
            table.add_row(name, f"{found.seed - first + 1:,}", str(found.seed), found.violations[0][:90])
        SCREEN.print(f"{name}: {found.seed - first + 1 if found else 'not found'}")
    SCREEN.print(table)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
