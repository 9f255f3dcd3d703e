"""An HTTP server that says exactly what it is told to, in exactly the pieces that it is told to.

For clients of the Kubernetes API: whatever a server, a proxy or a network does to the bytes of an answer,
a script can do here. Nothing in it knows Kubernetes but `recorded`, which scripts a recording.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Self

from romana_bus.lab.recordings.track import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

#: Divides a body into its chunks.
Chunking = Callable[[bytes], Iterable[bytes]]


def whole(body: bytes) -> Iterable[bytes]:
    """One chunk."""
    return [body] if body else []


def every(size: int) -> Chunking:
    """Chunks of `size` bytes."""
    return lambda body: (body[at : at + size] for at in range(0, len(body), size))


def randomly(seed: int, largest: int = 5000) -> Chunking:
    """Chunks of 1 to `largest` bytes, the same ones for the same seed."""

    def chunks(body: bytes) -> Iterator[bytes]:
        sizes, at = random.Random(seed), 0
        while at < len(body):
            size = sizes.randint(1, largest)
            yield body[at : at + size]
            at += size

    return chunks


@dataclass(frozen=True)
class Answer:
    """One scripted response. `chunking` None: the body has a Content-Length and is written at once.

    `then`: `end` as HTTP wants it, and the connection serves the next request; `cut`: close without the
    last chunk (or, with a Content-Length, announce one byte more than ever comes); `hang`: say no more,
    keep the connection."""

    body: bytes = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    chunking: Chunking | None = whole
    then: Literal["end", "cut", "hang"] = "end"

    def pieces(self) -> Iterator[bytes]:
        """What is written, one write each."""
        lines = [f"HTTP/1.1 {self.status} Scripted", *(f"{k}: {v}" for k, v in self.headers.items())]
        if self.chunking is None:
            lines.append(f"Content-Length: {len(self.body) + (self.then != 'end')}")
        else:
            lines.append("Transfer-Encoding: chunked")
        yield "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
        if self.chunking is None:
            yield self.body
            return
        for chunk in self.chunking(self.body):
            yield b"%x\r\n%b\r\n" % (len(chunk), chunk)
        if self.then == "end":
            yield b"0\r\n\r\n"


class Asked(NamedTuple):
    """One request as it came: `path` with its query, header names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


def recorded(file: Path, chunking: Chunking = whole) -> list[Answer]:
    """A recording's file (`recordings/*.jsonl`): its list pages in order, then each watch, all its lines
    at once. A watch whose end was not recorded hangs."""
    script: list[Answer] = []
    lines: list[str] = []
    for line in read_lines(file):
        match line.kind:
            case "list":
                script.append(Answer(line.body.encode(), line.status, chunking=chunking))
            case "watch-open":
                lines = []
            case "watch":
                lines.append(line.body + "\n")
            case "watch-close":
                script.append(Answer("".join(lines).encode(), line.status, chunking=chunking))
                lines = []
    return [*script, Answer("".join(lines).encode(), chunking=chunking, then="hang")]


class VerbatimServer:
    """`async with VerbatimServer([Answer(...), ...]) as server: ... server.url`. The answers are given in
    order, whatever is asked and on whichever connection; when there are none left it says nothing.
    `asked`: the requests so far."""

    def __init__(self, script: Iterable[Answer]) -> None:
        self.asked: list[Asked] = []
        self._script = deque(script)
        self._changed = asyncio.Condition()
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def until_asked(self, count: int) -> list[Asked]:
        """Wait for so many requests."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self.asked) >= count)
        return self.asked

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has gone, between two requests or in the middle of one
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """False when the connection is to be closed."""
        asked = await _read(reader)
        async with self._changed:
            self.asked.append(asked)
            self._changed.notify_all()
        answer = self._script.popleft() if self._script else None
        for piece in answer.pieces() if answer else ():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)  # lets a client in the same process see this piece alone
        if answer is None or answer.then == "hang":
            await reader.read()  # until the client goes
            return False
        return answer.then == "end"


async def _read(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.split("\r\n")[:-2]
    method, path, _version = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, path, headers, body)
