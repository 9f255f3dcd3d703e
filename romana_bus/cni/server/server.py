"""The unix socket that `romana-cni` calls: one request and one answer on each connection.

Owns RUN_DIR/cni.sock (0600); one that a killed agent has left is replaced. Whatever comes in, the answer is a
CNI error object at worst. Of those who connect and say nothing, the newest SILENT are borne. An ADD whose
caller hangs up is undone; all else goes on to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Histogram

from romana_bus.cni import frame, spec
from romana_bus.cni.spec import CniError
from romana_bus.errors import Failed
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Iterator
    from pathlib import Path
    from typing import Any, Protocol

    from romana_bus.cni.spec import Call

    class Doing(Protocol):
        def __call__(self, call: Call) -> Coroutine[Any, Any, bytes]:
            """What the caller is told. Raises CniError."""


log = structlog.get_logger(__name__)

CALLS = Counter(
    "romana_cni_calls",
    "CNI calls by outcome: the error's code, 0 for success, or gone",
    ["command", "outcome"],
)
SECONDS = Histogram(
    "romana_cni_seconds",
    "From a CNI call to its answer",
    ["command"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60),
)

#: Seconds in which a request has to be here in whole, and its answer to be taken; and in which what was begun
#: ends when the agent stops.
WITHIN, FAREWELL = 10.0, 5.0
#: Callers that may be about to say what they want: fewer than the files that a process may have open.
SILENT = 512
BACKLOG = 1024
_INTERNAL = 999


@contextlib.asynccontextmanager
async def served(directory: Path, do: Doing, within: float = WITHIN) -> AsyncIterator[Path]:
    """Serve at the socket in `directory`, which nobody else may do; gives its path. Raises Failed."""
    with _listening(directory / "cni.sock") as listener:
        connections = _Connections(do, within)
        server = await asyncio.start_unix_server(connections.take, sock=listener, backlog=BACKLOG)
        try:
            yield directory / "cni.sock"
        finally:
            server.close()
            await connections.end()


@contextlib.contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """Raises Failed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise Failed(f"no socket can be made at {path}: {error}") from None
    finally:
        os.umask(mask)
    try:
        yield listener
    finally:
        with contextlib.suppress(OSError):  # the next agent removes it
            path.unlink(missing_ok=True)
        listener.close()


class _Connections:
    def __init__(self, do: Doing, within: float) -> None:
        self._do, self._within = do, within
        self._adding: set[asyncio.Future[bytes]] = set()
        self._open: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._converse(reader, writer)
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            log.info("a caller has gone before it was answered")
        finally:
            self._open.discard(task)
            self._silent.pop(writer, None)
            writer.close()

    async def end(self) -> None:
        """What can be undone is undone, what was begun otherwise ends."""
        for adding in self._adding:
            adding.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=FAREWELL)
        for task in list(self._open):
            await stop(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._silent[writer] = None
        if len(self._silent) > SILENT:
            oldest = next(iter(self._silent))
            del self._silent[oldest]
            oldest.transport.abort()
        code, text = await self._answered(reader, writer)
        writer.write(frame.answer(code, text))
        async with asyncio.timeout(self._within):
            await writer.drain()

    async def _request(self, reader: asyncio.StreamReader) -> frame.Request:
        """Raises CniError, IncompleteReadError."""
        try:
            async with asyncio.timeout(self._within):
                size = int.from_bytes(await reader.readexactly(frame.HEAD), "big")
                if size > frame.LARGEST:
                    raise ValueError(f"it would have {size} bytes, and {frame.LARGEST} are the most")
                return frame.request(await reader.readexactly(size))
        except ValueError as error:
            raise CniError(spec.UNDECODABLE, "not a call of romana-cni", str(error)) from None
        except TimeoutError:
            raise CniError(spec.IO, f"the call did not come in whole within {self._within:g} s") from None

    async def _answered(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bytes]:
        """Exit code and text. Raises ConnectionError, IncompleteReadError where the caller has hung up."""
        begun, command, version = time.monotonic(), "?", spec.NEWEST
        try:
            environment, config = await self._request(reader)
            self._silent.pop(writer, None)
            version = spec.version_of(config)
            call = spec.parse(environment, config)
            command = call.command
            text = await self._done(call, reader)
        except CniError as error:
            failure = error
        except (ConnectionError, asyncio.IncompleteReadError):
            _count(command, "gone", begun)
            raise
        except Exception as error:  # a mistake of ours in one call must not end all others
            log.error("a call failed for no reason that is known", command=command, exc_info=True)
            failure = CniError(_INTERNAL, "the agent has made a mistake", f"{type(error).__name__}: {error}")
        else:
            _count(command, "0", begun)
            return 0, text
        _count(command, str(failure.code), begun)
        say = log.info if command == "STATUS" else log.warning  # which is asked every few seconds
        say("refused", command=command, code=failure.code, why=str(failure))
        return 1, spec.failure(version, failure)

    async def _done(self, call: Call, reader: asyncio.StreamReader) -> bytes:
        """Raises CniError; ConnectionError where the caller has hung up."""
        doing = asyncio.ensure_future(self._do(call))
        if call.command != "ADD":
            return await doing
        self._adding.add(doing)
        leaving = asyncio.ensure_future(_hung_up(reader))
        try:
            await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise ConnectionAbortedError("the caller has hung up")
            if doing.cancelled():
                raise CniError(spec.AGAIN, "the agent stops", "the call can be repeated when it is back")
            return doing.result()
        finally:
            self._adding.discard(doing)
            await stop(leaving)
            await stop(doing)


def _count(command: str, outcome: str, begun: float) -> None:
    CALLS.labels(command, outcome).inc()
    SECONDS.labels(command).observe(time.monotonic() - begun)


async def _hung_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(1024):
            pass
