"""The spool: DELs that reached no agent, which `romana-cni` keeps on disk, and the agent runs.

Reads RUN_DIR/spool: a file CONTAINER:INTERFACE for each call, which holds the request as it is sent over the
socket. `romana-cni` writes it under another name, which begins with '.', and renames it. The file is removed
once the DEL is done. RUN_DIR is empty after a reboot, and so the spool is: the sandboxes are gone too, and
their requests on the log are ended because no sandbox has them.

An ADD never loses to an older DEL: all that waits is run before the agent serves, and a DEL that appears
later is run before the next ADD of its interface. What fails is kept, and run again.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import structlog

from romana_bus.cni import frame, spec
from romana_bus.cni.spec import CniError

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.cni.server.server import Execute
    from romana_bus.cni.spec import Attached, Call

log = structlog.get_logger(__name__)

#: Seconds between two looks.
EVERY = 1.0
#: How many calls are run at once: as many as romana-cni keeps, so that all wait for a full disk together.
AT_ONCE = 1024
#: How many files that cannot be used are kept for a person to look at; more are deleted.
ASIDE = 100
#: Errors of reading a file that say nothing about that file.
_PASSING = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM))


class Spool:
    """The calls that wait in a directory. `do`: runs a call."""

    def __init__(self, directory: Path, do: Execute) -> None:
        """Create the directory. Raises OSError."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory, self._aside, self._do = directory, directory / ".aside", do
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._failures: dict[str, str] = {}  # of the last look, which were logged
        for file in directory.glob(".*"):
            with contextlib.suppress(OSError):  # a directory, or no longer there
                file.unlink()  # its writer was killed, or else keeps nothing, and says so

    async def do(self, call: Call) -> bytes:
        """Run a call; before an ADD, a DEL of the same interface that waits. Raises CniError."""
        name = _name(call.attached)
        if call.command == "ADD" and os.path.lexists(f"{self._directory}/{name}"):
            try:
                await self._take(name)
            except OSError as error:
                raise CniError(spec.IO, "a DEL that waits cannot be run", str(error)) from None
        return await self._do(call)

    def warnings(self) -> list[str]:
        """What /readyz says about calls that fail."""
        first = next(iter(self._failures.items()), None)
        return (
            [f"DELs of the spool that fail: {len(self._failures)}, {first[0]}: {first[1]}"] if first else []
        )

    async def run(self) -> None:
        """Run what appears, until cancelled."""
        while True:
            await asyncio.sleep(EVERY)
            await self.take_all()

    async def take_all(self) -> None:
        """Run all that waits. A failure is logged when it is new."""
        names, failures = self._waiting(), dict[str, str]()
        for start in range(0, len(names), AT_ONCE):
            some = names[start : start + AT_ONCE]
            results = await asyncio.gather(*map(self._take, some), return_exceptions=True)
            failures |= {name: str(result) for name, result in zip(some, results, strict=True) if result}
        for name, why in failures.items():
            if self._failures.get(name) != why:
                log.error("a DEL of the spool failed, and is run again", file=name, why=why)
        self._failures = failures

    def _waiting(self) -> list[str]:
        with contextlib.suppress(OSError), os.scandir(self._directory) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith("."))
        return []

    async def _take(self, name: str) -> None:
        """Run a call, unless another task has done that. Those of one container are run one by one, since the
        last one ends its request. Raises CniError, OSError."""
        lock = self._locks.setdefault(name.rpartition(":")[0], asyncio.Lock())
        async with lock:
            file = self._directory / name
            try:
                call = _read(file)
            except FileNotFoundError:
                return
            except (ValueError, CniError, OSError) as error:
                if isinstance(error, OSError) and error.errno in _PASSING:
                    raise CniError(spec.AGAIN, f"cannot read {file}", str(error)) from None
                self._set_aside(name, str(error))
                return
            await self._do(call)
            file.unlink(missing_ok=True)
            log.info("a DEL of the spool is done", sandbox=call.container[:13], pod=str(call.pod))

    def _set_aside(self, name: str, why: str) -> None:
        """Move a file that cannot be used out of the way; it is tried again if that fails. Raises OSError."""
        file = self._directory / name
        self._aside.mkdir(mode=0o700, exist_ok=True)
        if len(os.listdir(self._aside)) < ASIDE:
            file.replace(self._aside / name)
        else:
            file.unlink()
        log.error("not a DEL that romana-cni kept: set aside", file=str(self._aside / name), why=why)


def _name(attached: Attached) -> str:
    return f"{attached.container}:{attached.ifname}"


def _read(file: Path) -> Call:
    """The DEL in a file. Raises ValueError, CniError if it is none, OSError if it cannot be read."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            size = int.from_bytes(stream.read(frame.HEAD), "big")
            body = stream.read(frame.LARGEST + 1)
    finally:
        os.close(descriptor)
    if len(body) != size or size > frame.LARGEST:
        raise ValueError(f"it has {len(body)} bytes of {size}")
    call = spec.parse(*frame.request(body))
    if call.command != "DEL" or _name(call.attached) != file.name:
        raise ValueError(f"{call.command} of {_name(call.attached)}")
    return call
