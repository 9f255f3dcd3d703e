"""Containers whose command the lab runs: a process in the pod's network namespace, with its output in a file.

There are no images: a command finds the machine's own files. It runs as nobody and without capabilities,
since everyone on the machine may create pods at the lab's API server, which asks for no credentials. A
container without a command stays idle. Nothing is restarted: it ends as with restartPolicy Never. Blocking.

    nodes/NODE/containers/UID/NAME.log    its output, which the API server serves
                              NAME.json   the record of its process, which a new kubelet finds again
                              NAME.exit   its exit code, once it has ended
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.lab.kubelet import pods
from romana_bus.lab.machine import netns, processes
from romana_bus.lab.machine.directory import MARK, write
from romana_bus.lab.machine.processes import Record

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.lab.kubelet.sandboxes import Sandbox

Json = dict[str, Any]

#: Who runs a command: nobody.
_NOBODY = ("--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
_WITHOUT = ("--bounding-set=-all", "--inh-caps=-all")
#: Runs a command and keeps its exit code, so that it is known also after the kubelet was restarted.
_RUN = 'cd /; setpriv "$@"; echo $? >"$0.part" && mv "$0.part" "$0"'
#: The exit code of a process whose own is not known: that of one that was killed.
_KILLED = 128 + signal.SIGKILL


class Ended(NamedTuple):
    """How a container ended. `at`: RFC 3339."""

    code: int
    at: str


class Containers:
    """The containers of one node's pods. `directory`: the node's, in the lab."""

    def __init__(self, directory: Path) -> None:
        self._root = directory / "containers"

    def start(self, pod: Json, sandbox: Sandbox) -> list[int]:
        """Start the containers that were not started in this sandbox; returns the pids of those that run.
        Raises Failed."""
        directory = self._root / sandbox.uid
        running = []
        for container in pods.with_command(pod):
            record = _record(directory, container["name"])
            if record is None or record.name != sandbox.id:
                record = _start(directory, container, sandbox)
            if record.alive:
                running.append(record.pid)
        return running

    def ended(self, pod: Json) -> dict[str, Ended]:
        """The containers that were started and have ended, by name."""
        directory = self._root / pods.uid(pod)
        ended = {}
        for container in pods.with_command(pod):
            record = _record(directory, container["name"])
            if record is not None and not record.alive:
                ended[container["name"]] = _end(directory, container["name"])
        return ended

    def stop(self, uid: str) -> None:
        """Kill what runs of this pod. The output stays."""
        for path in (self._root / uid).glob("*.json"):
            record = _record(path.parent, path.stem)
            if record is not None and record.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(record.pid, signal.SIGKILL)

    def forget(self, uid: str) -> None:
        self.stop(uid)
        shutil.rmtree(self._root / uid, ignore_errors=True)

    @property
    def known(self) -> list[str]:
        """The uids of the pods that have files here."""
        return sorted(os.listdir(self._root)) if self._root.is_dir() else []


def log_file(directory: Path, uid: str, container: str) -> Path:
    """Where the output of a container is. `directory`: the node's."""
    return directory / "containers" / uid / f"{container}.log"


def _start(directory: Path, container: Json, sandbox: Sandbox) -> Record:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = container["name"]
    exit_code = directory / f"{name}.exit"
    exit_code.unlink(missing_ok=True)
    command = [*container["command"], *(container.get("args") or ())]
    given = {entry["name"]: str(entry.get("value", "")) for entry in container.get("env") or ()}
    environment = {
        "PATH": netns.search_path(),
        "HOSTNAME": sandbox.name,
        **given,
        MARK: os.environ.get(MARK, ""),
    }
    record = processes.spawn(
        sandbox.id,
        ["/bin/sh", "-c", _RUN, str(exit_code), *_NOBODY, *_WITHOUT, "--", *map(str, command)],
        directory / f"{name}.log",
        environment,
        sandbox.netns,
    )
    write(directory / f"{name}.json", msgspec.json.encode(record))
    return record


def _record(directory: Path, name: str) -> Record | None:
    try:
        return msgspec.json.decode((directory / f"{name}.json").read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def _end(directory: Path, name: str) -> Ended:
    path = directory / f"{name}.exit"
    try:
        code, time = int(path.read_text()), path.stat().st_mtime
    except (OSError, ValueError):
        code, time = _KILLED, (directory / f"{name}.json").stat().st_mtime
    return Ended(code, f"{datetime.fromtimestamp(time, UTC):%Y-%m-%dT%H:%M:%SZ}")
