"""The unix socket that `romana-cni` connects to: one request and one answer on each connection.

Owns RUN_DIR/cni.sock (0600); the socket of a killed agent is replaced, and one that was deleted is made
again. Any invalid request is answered with a CNI error object. Of connections without a request, only the
newest SILENT are kept. An ADD whose caller disconnects is undone; other commands are completed.
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
from romana_bus.errors import BadInput, Failed
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine
    from pathlib import Path
    from typing import Any, Protocol

    from romana_bus.cni.spec import Call

    class Execute(Protocol):
        def __call__(self, call: Call) -> Coroutine[Any, Any, bytes]:
            """Run a call; returns the answer. Raises CniError."""


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

#: Seconds: within which a request has to be complete, and its answer be read; and which running calls get
#: when the agent stops.
WITHIN, STOP_WITHIN = 10.0, 5.0
#: Seconds between two looks whether the socket is still there.
LOOK = 1.0
#: Connections without a request: fewer than the files that a process may have open.
SILENT = 512
BACKLOG = 1024
_INTERNAL = 999


@contextlib.asynccontextmanager
async def served(
    directory: Path,
    do: Execute,
    within: float = WITHIN,
    keep: Callable[[], object] = lambda: None,
    trouble: Callable[[str], object] = str,
) -> AsyncIterator[Path]:
    """Serve at the socket in `directory`, of which the caller is the single owner; yields its path. Raises
    Failed.

    Somebody may delete it: every LOOK seconds `keep` makes again what else the directory has to have (it
    raises OSError, Failed or BadInput where it cannot), and a missing socket is made again. `trouble`: gets
    why that was not possible, and '' when it was."""
    connections = _Connections(do, within)
    server = _Server(directory / "cni.sock", connections)
    await server.open()
    keeping = asyncio.create_task(_kept(server, keep, trouble), name="keep the socket")
    try:
        yield server.path
    finally:
        await stop(keeping)
        server.close()
        await connections.end()


class _Server:
    """Listens at a path."""

    def __init__(self, path: Path, connections: _Connections) -> None:
        self.path, self._connections = path, connections
        self._server: asyncio.Server | None = None
        self._inode = 0

    @property
    def stands(self) -> bool:
        """Whether callers find our socket."""
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    async def open(self) -> None:
        """Raises Failed."""
        listener = _listening(self.path)
        self._inode = self.path.stat().st_ino
        self._server = await asyncio.start_unix_server(
            self._connections.serve, sock=listener, backlog=BACKLOG
        )

    def close(self) -> None:
        """Calls that are running go on."""
        if self._server is not None:
            if self.stands:
                with contextlib.suppress(OSError):  # the next agent removes it
                    self.path.unlink()
            self._server.close()
        self._server = None


async def _kept(server: _Server, keep: Callable[[], object], trouble: Callable[[str], object]) -> None:
    while True:
        await asyncio.sleep(LOOK)
        try:
            keep()
            if not server.stands:
                server.close()
                await server.open()
                log.warning("the socket was deleted: made again", socket=str(server.path))
            trouble("")
        except (OSError, Failed, BadInput) as error:
            trouble(f"romana-cni cannot call this agent: {error}")


def _listening(path: Path) -> socket.socket:
    """Raises Failed."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    mask = os.umask(0o177)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise Failed(f"cannot create a socket at {path}: {error}") from None
    finally:
        os.umask(mask)
    return listener


class _Connections:
    def __init__(self, do: Execute, within: float) -> None:
        self._do, self._within = do, within
        self._adding: set[asyncio.Future[bytes]] = set()
        self._open: set[asyncio.Task[None]] = set()
        self._silent: dict[asyncio.StreamWriter, None] = {}  # the oldest first

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._converse(reader, writer)
        except (asyncio.IncompleteReadError, TimeoutError, ConnectionError):
            log.info("a caller disconnected before it was answered")
        finally:
            self._open.discard(task)
            self._silent.pop(writer, None)
            writer.close()

    async def end(self) -> None:
        """Cancel and undo ADDs, and wait for other running calls."""
        for adding in self._adding:
            adding.cancel()
        if self._open:
            await asyncio.wait(self._open, timeout=STOP_WITHIN)
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
                    raise ValueError(f"{size} bytes, more than {frame.LARGEST}")
                return frame.request(await reader.readexactly(size))
        except ValueError as error:
            raise CniError(spec.UNDECODABLE, "not a call of romana-cni", str(error)) from None
        except TimeoutError:
            raise CniError(spec.IO, f"the call was not complete within {self._within:g} s") from None

    async def _answered(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> tuple[int, bytes]:
        """Exit code and text. Raises ConnectionError, IncompleteReadError if the caller has disconnected."""
        started, command, version = time.monotonic(), "?", spec.NEWEST
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
            _count(command, "gone", started)
            raise
        except Exception as error:  # a bug in one call must not end the others
            log.error("a call failed because of a bug", command=command, exc_info=True)
            failure = CniError(_INTERNAL, "internal error of the agent", f"{type(error).__name__}: {error}")
        else:
            _count(command, "0", started)
            return 0, text
        _count(command, str(failure.code), started)
        write = log.info if command == "STATUS" else log.warning  # STATUS comes every few seconds
        write("refused", command=command, code=failure.code, why=str(failure))
        return 1, spec.failure(version, failure)

    async def _done(self, call: Call, reader: asyncio.StreamReader) -> bytes:
        """Run the call; an ADD is cancelled if the caller disconnects. Raises CniError, ConnectionError."""
        doing = asyncio.ensure_future(self._do(call))
        if call.command != "ADD":
            return await doing
        self._adding.add(doing)
        leaving = asyncio.ensure_future(_hung_up(reader))
        try:
            await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not doing.done():
                raise ConnectionAbortedError("the caller has disconnected")
            if doing.cancelled():
                raise CniError(spec.AGAIN, "the agent stops", "repeat the call when it is running again")
            return doing.result()
        finally:
            self._adding.discard(doing)
            await stop(leaving)
            await stop(doing)


def _count(command: str, outcome: str, started: float) -> None:
    CALLS.labels(command, outcome).inc()
    SECONDS.labels(command).observe(time.monotonic() - started)


async def _hung_up(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(1024):
            pass
