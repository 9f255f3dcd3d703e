"""Files: atomic writes, and a lock that one process holds."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from romana_bus.errors import BadInput, Failed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def write(file: Path, body: bytes, *, sync: bool = False, mode: int = 0o666) -> None:
    """Replace a file atomically. `sync`: it is on the disk when this returns. `mode`: its permissions, less
    those that the umask denies. Raises OSError; then nothing has changed, and a full disk is no fuller."""
    scratch = file.with_suffix(".new")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as stream:
            stream.write(body)
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(scratch, file)
    except OSError:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise
    if sync:
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


@contextlib.contextmanager
def single_holder(option: str, directory: Path, name: str) -> Iterator[None]:
    """Create a directory, and hold the lock file `name` in it; the kernel releases it when the process ends.

    `option`: the command-line option that named the directory. Raises Failed if another agent holds the lock,
    BadInput if the file cannot be created."""
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
