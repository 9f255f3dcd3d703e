"""A standard error that never fails: lines that cannot be written are dropped and counted.

A full disk, or a reader that went away, must not change what the process does. Standard library only:
this is in place before anything else is imported.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Dropped:
    """Counts of dropped lines: `total` since the process began, `unsaid` since the last line was written."""

    def __init__(self) -> None:
        self.total = self.unsaid = 0

    def add(self, lines: int = 1) -> None:
        self.total += lines
        self.unsaid += lines


dropped = Dropped()


class _Lossy(io.FileIO):
    """A file without a buffer: what a failed write left in one would fail again at exit, with code 120."""

    _torn = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Returns the length of `data`, written or not."""
        whole = left = bytes(data)
        if self._torn:  # half a line together with the next one could not be parsed
            self._torn = not self._written(b"\n")
        while left:
            count = self._written(left)
            if not count:
                dropped.add(left.count(b"\n"))
                return len(whole)
            self._torn = count < len(left) and not left[:count].endswith(b"\n")
            left = left[count:]
        dropped.unsaid = 0
        return len(whole)

    def _written(self, data: bytes) -> int:
        """Write what can be written; returns the number of bytes."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: the file was closed
            return super().write(data) or 0  # None: a non-blocking descriptor that is not ready
        return 0


def make_lossy() -> None:
    """Replace the interpreter's own `sys.stderr`. A stream that somebody else put there stays."""
    stream = sys.__stderr__
    if stream is None or stream is not sys.stderr or isinstance(stream.buffer, _Lossy):
        return
    with contextlib.suppress(OSError, ValueError):
        lossy = _Lossy(stream.fileno(), "wb", closefd=False)
        made = io.TextIOWrapper(lossy, stream.encoding, "backslashreplace", write_through=True)
        sys.stderr = sys.__stderr__ = made  # type: ignore[misc]
