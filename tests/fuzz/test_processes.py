"""Hostile bytes for real processes: none ends, none loses its head, and what is stays what it was.

One round from a fixed seed; `make fuzz` goes on for SECONDS, from a seed that it prints, or repeats ROUNDS of
a SEED: the same seeds send the same bytes, as long as what is on the log when a round begins is the same.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import structlog

from romana_bus.runtime.process import logs
from tests.fuzz.attack import attack
from tests.fuzz.checks import Checks
from tests.fuzz.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SEED = int(os.environ.get("ROMANA_FUZZ_SEED", "10"))
ROUNDS = int(os.environ.get("ROMANA_FUZZ_ROUNDS", "1"))
SECONDS = float(os.environ.get("ROMANA_FUZZ_SECONDS", "0"))


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the test itself reads, it would say of each time that it cannot be used."""
    logs.configure("error", False)
    yield
    structlog.reset_defaults()


@pytest.mark.timeout(SECONDS + 400 * ROUNDS)
def test_no_process_ends_and_no_event_is_lost(tmp_path: Path) -> None:
    over, done, sent = time.monotonic() + SECONDS, 0, Counter[str]()
    with Site(tmp_path) as site:
        checks = Checks(site)
        try:
            while done < ROUNDS or time.monotonic() < over:
                seed, done = SEED + done, done + 1
                sent += attack(site, seed)
                checks.all()
                print(f"seed {seed}: {dict(sent)} so far, and all is well", flush=True)  # noqa: T201
            checks.takeover()
        except BaseException:
            print(f"again: make fuzz SEED={SEED} ROUNDS={done} SECONDS=0")  # noqa: T201
            raise
