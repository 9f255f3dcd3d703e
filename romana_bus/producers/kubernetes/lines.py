"""A stream of bytes as lines, however it is cut. Pure."""

from __future__ import annotations

#: An object has 1.5 MiB at most in etcd, or some more where that was raised; a longer line is no watch event.
LONGEST = 16 << 20


class Lines:
    """`offset`: how many bytes of whole lines came out so far: the place of a line that is wrong."""

    def __init__(self) -> None:
        self.offset = 0
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends. Raises ValueError for an endless one."""
        if b"\n" not in chunk:
            self._rest.append(chunk)
            self._size += len(chunk)
            if self._size > LONGEST:
                raise ValueError(f"a line of more than {LONGEST >> 20} MiB")
            return []
        *lines, rest = chunk.split(b"\n")
        if self._rest:
            lines[0] = b"".join([*self._rest, lines[0]])
        self._rest, self._size = ([rest], len(rest)) if rest else ([], 0)
        return lines

    @property
    def pending(self) -> int:
        """Bytes of a line that has not ended: more than 0 where a connection broke in the middle of one."""
        return self._size
