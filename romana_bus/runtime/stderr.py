"""Standard error that never fails: lines that cannot be written are dropped, and counted.

A full disk, or a reader that went away, must not change what the process does. Standard library only,
since this is in place before anything else is imported.
"""

from __future__ import annotations

import contextlib
import io
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class Dropped:
    """Lines that were lost: `total` since the process began, `unsaid` since a line was last written."""

    def __init__(self) -> None:
        self.total = self.unsaid = 0

    def add(self, lines: int = 1) -> None:
        self.total += lines
        self.unsaid += lines


dropped = Dropped()


class _Lossy(io.FileIO):
    """Has no buffer: what a failed write leaves in one fails again at exit, with exit code 120."""

    _torn = False

    def write(self, data: ReadableBuffer, /) -> int:
        """Returns the length of `data`, whatever became of it."""
        whole = left = bytes(data)
        if self._torn:  # half a line and the next whole one would be one that nobody can parse
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
        """How many bytes of it."""
        with contextlib.suppress(OSError, ValueError):  # ValueError: the file was closed
            return super().write(data) or 0  # None: it would have to wait, and the descriptor forbids that
        return 0


def make_lossy() -> None:
    """Takes the place of the interpreter's own stream. What somebody else put there stays."""
    stream = sys.__stderr__
    if stream is None or stream is not sys.stderr or isinstance(stream.buffer, _Lossy):
        return
    with contextlib.suppress(OSError, ValueError):
        lossy = _Lossy(stream.fileno(), "wb", closefd=False)
        made = io.TextIOWrapper(lossy, stream.encoding, "backslashreplace", write_through=True)
        sys.stderr = sys.__stderr__ = made  # type: ignore[misc]
