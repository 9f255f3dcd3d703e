"""An API server with a small cluster, for commands that compare it with the log."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.cli.api import ApiThread

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def small_cluster() -> Iterator[ApiThread]:
    """Three nodes with one pod each."""
    with ApiThread() as made:
        for number in range(3):
            made.node(f"n{number}", "a", f"192.0.2.{number}")
            made.pod(f"p{number}", f"n{number}")
        yield made


@pytest.fixture
def api() -> Iterator[ApiThread]:
    with small_cluster() as made:
        yield made
