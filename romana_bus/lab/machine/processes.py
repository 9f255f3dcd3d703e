"""The lab's processes: starts them in the background, each with its own log, and finds them again.

A record holds a pid and the start time of that process, so a pid that the kernel has reused is never taken
for ours. A process whose record is lost is found by its environment.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from romana_bus.errors import Failed
from romana_bus.lab.machine import netns
from romana_bus.lab.machine.directory import MARK, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from romana_bus.lab.machine.directory import Lab

#: The variables that a background process inherits from the environment of `lab up`.
_KEPT = ("HOME", "LANG", "TMPDIR", "PYTHONWARNINGS", "ROMANA_NATS_SERVER")
#: Seconds that the kernel may take to end a killed process.
_ENDS_WITHIN = 10.0
#: The fields of /proc/PID/stat after the name (proc(5)): the state, and the start time.
_STATE, _STARTED = 0, 19


class Record(msgspec.Struct, frozen=True):
    """A process that was started. `started`: its start time, in clock ticks since the machine booted."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return _started(self.pid) == self.started

    @property
    def stopped(self) -> bool:
        """Whether the process is alive but stopped by a signal, such as Ctrl-Z sends."""
        return self.alive and (_stat(self.pid) or " ")[_STATE] == "T"


def start(
    lab: Lab,
    name: str,
    command: Sequence[str],
    namespace: str = "",
    environment: Mapping[str, str] | None = None,
) -> Record:
    """Start a process of the lab, and record it. Raises Failed."""
    kept = {key: os.environ[key] for key in _KEPT if key in os.environ} | {"PATH": netns.search_path()}
    environment = kept | dict(environment or {}) | {MARK: lab.spec.name}
    record = spawn(name, command, lab.directory / f"logs/{name}.log", environment, namespace)
    write(_path(lab, name), msgspec.json.encode(record))
    return record


def spawn(
    name: str, command: Sequence[str], log: Path, environment: Mapping[str, str], namespace: str
) -> Record:
    """Start a process in its own session, so that Ctrl-C does not reach it, and with exactly this
    environment; its output is appended to `log`. Raises Failed."""
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        with netns.inside(namespace):
            pid = os.posix_spawn(
                command[0],
                list(command),
                environment,
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_DUP2, output, 1),
                    (os.POSIX_SPAWN_DUP2, output, 2),
                ],
                setsid=True,
                setsigmask=(),
            )
    except OSError as error:
        raise Failed(f"{name} cannot be started: {command[0]}: {error.strerror}") from None
    finally:
        os.close(output)
    return Record(name, pid, _started(pid) or 0)


def recorded(lab: Lab) -> dict[str, Record]:
    """The records of all processes that were started, also of those that have ended."""
    records = {}
    for path in sorted((lab.directory / "processes").glob("*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            record = msgspec.json.decode(path.read_bytes(), type=Record)
            records[record.name] = record
    return records


def alive(lab: Lab, name: str) -> Record | None:
    record = recorded(lab).get(name)
    return record if record and record.alive else None


def kill(lab: Lab, *names: str) -> list[str]:
    """Send SIGKILL to these and wait until they have ended; returns those that were alive. Raises Failed."""
    records = recorded(lab)
    chosen = [records[name] for name in names if name in records and records[name].alive]
    end(record.pid for record in chosen)
    for name in names:
        _path(lab, name).unlink(missing_ok=True)
    return [record.name for record in chosen]


def terminate(lab: Lab, name: str) -> bool:
    """Send SIGTERM; returns whether the process was alive."""
    record = alive(lab, name)
    if record:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)
    return record is not None


def resume(lab: Lab) -> list[str]:
    """Send SIGCONT to the stopped processes; returns their names."""
    stopped = [record for record in recorded(lab).values() if record.stopped]
    for record in stopped:
        with contextlib.suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGCONT)
    return [record.name for record in stopped]


def marked(lab: str) -> set[int]:
    """The pids of the lab's processes, found by their environment; without this one and its ancestors."""
    mark, pids = f"{MARK}={lab}".encode(), set()
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if mark in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                pids.add(int(entry))
    return {pid for pid in pids - _ancestors() if _started(pid) is not None}


def inside(namespaces: Iterable[str]) -> set[int]:
    """The pids of the processes in these network namespaces, without this one and its ancestors."""
    return {pid for pid in netns.processes(namespaces) if _started(pid) is not None} - _ancestors()


def end(pids: Iterable[int]) -> None:
    """Send SIGKILL to all and wait until they have ended. Raises Failed."""
    ends = {}
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            ends[descriptor] = pid
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    try:
        _await(ends)
    finally:
        for descriptor in ends:
            os.close(descriptor)


def _await(ends: Mapping[int, int]) -> None:
    waiting, until = dict(ends), time.monotonic() + _ENDS_WITHIN
    poller = select.poll()
    for descriptor in waiting:
        poller.register(descriptor, select.POLLIN)
    while waiting:
        ended = poller.poll(max(0.0, until - time.monotonic()) * 1000)
        if not ended:
            raise Failed(f"these processes do not end: {', '.join(map(str, sorted(waiting.values())))}")
        for descriptor, _ in ended:
            poller.unregister(descriptor)
            pid = waiting.pop(descriptor)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # only if it is our child


def last_words(lab: Lab, name: str) -> str:
    """The last line of the process's log."""
    with contextlib.suppress(OSError, IndexError):
        text = (lab.directory / f"logs/{name}.log").read_text(errors="replace")
        return text.strip().splitlines()[-1][:400]
    return "it said nothing"


def _path(lab: Lab, name: str) -> Path:
    return lab.directory / f"processes/{name}.json"


def _ancestors() -> set[int]:
    ancestors, pid = set(), os.getpid()
    while pid > 1 and pid not in ancestors:
        ancestors.add(pid)
        pid = int((_stat(pid) or ["", "0"])[1])
    return ancestors


def _started(pid: int) -> int | None:
    """The start time of the process; None if it has ended, also if it is a zombie."""
    fields = _stat(pid)
    return int(fields[_STARTED]) if fields and fields[_STATE] not in "ZX" else None


def _stat(pid: int) -> list[str] | None:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return None
