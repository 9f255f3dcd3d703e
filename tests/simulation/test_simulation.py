"""Days of a small cluster on a virtual clock, drawn from seeds. `make simulate SEEDS=10000` lives more."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.simulation.days import day

#: CI lives 300 of them (`.ci/run`).
SEEDS = int(os.environ.get("ROMANA_SIMULATED_DAYS", "60"))
#: Of the defects of `defects.py`, those that a few days find, and the first seed of such a day today.
SOON = {"one_list_is_believed": 98, "every_deletion_is_believed": 62, "a_tombstone_outlives_the_truth": 2}


#: Days of one test: pytest-xdist gives whole tests to its processes.
CHUNK = 20


@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_every_day_ends_well(first: int) -> None:
    for seed in range(first, min(first + CHUNK, SEEDS + 1)):
        lived = day(seed)
        assert not lived.violations, "\n".join(
            (*lived.story, *lived.violations, f"again: python -m tests.simulation --story {seed}")
        )


@pytest.mark.parametrize("seed", ["3", "17"])
def test_a_seed_is_the_same_day_again(seed: str) -> None:
    """To the byte of its story and of the log at its end, whatever the order of Python's sets."""
    first, second = (
        subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--story", seed],
            env=os.environ | {"PYTHONHASHSEED": hashes}, capture_output=True, text=True, check=True,
        ).stdout
        for hashes in "12"
    )  # fmt: skip
    assert first == second
    assert "what is on the log at the end" in first


@pytest.mark.parametrize("defect", SOON)
def test_each_old_defect_is_found(defect: str) -> None:
    """A sample: those that few days find. `make simulate DEFECTS=1` needs up to a thousand for each."""
    assert any(day(seed, defect).violations for seed in (SOON[defect], *range(1, 61)))
