"""One process alone: a lock on a file, held for as long as the process lives, however it ends."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from romana_bus.errors import BadInput, Failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def sole(option: str, directory: Path, name: str) -> Iterator[None]:
    """Make the directory, and hold the file of that name in it. `option`: by which the directory was named.
    Raises Failed where another agent holds it, BadInput where there can be no such file."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(directory / name, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise BadInput(f"{option} {directory}: {error.strerror}") from None
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed(f"another agent runs with {option} {directory}: stop it first") from None
        yield
    finally:
        os.close(lock)
