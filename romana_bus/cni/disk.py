"""Files that are there as a whole or not at all."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write(file: Path, body: bytes, *, past_caches: bool = False) -> None:
    """In the place of what is there. `past_caches`: it is on the disk when this returns. Raises OSError, and
    then nothing has changed: a full disk gets no fuller."""
    scratch = file.with_suffix(".new")
    try:
        with scratch.open("wb") as stream:
            stream.write(body)
            if past_caches:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(scratch, file)
    except OSError:
        with contextlib.suppress(OSError):
            scratch.unlink()
        raise
    if past_caches:
        directory = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
