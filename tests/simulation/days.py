"""Days by their seeds, with a defect put back where one is named, on all cores."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.simulation.day import Day, live
from tests.simulation.defects import DEFECTS

if TYPE_CHECKING:
    from collections.abc import Iterator


def day(seed: int, defect: str | None = None) -> Day:
    """The day of this seed, with a defect put back."""
    with pytest.MonkeyPatch.context() as patch:
        if defect:
            DEFECTS[defect](patch)
        return live(seed)


def days(first: int, seeds: int, defect: str | None = None) -> Iterator[Day]:
    """In the order of their seeds, on all cores.

    The processes are not forked: whoever asks may have threads, and a pool of forked ones can wait for ever.
    """
    processes = ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn"))
    try:
        yield from processes.map(day, range(first, first + seeds), itertools.repeat(defect))
    finally:
        processes.shutdown(cancel_futures=True)
