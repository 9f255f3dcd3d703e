"""Processes that a test starts, kills, freezes and stops: each in a group of its own, with a log that
stays behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]


class _Line(msgspec.Struct):
    """What of a structured log line is looked at."""

    event: str = ""
    timestamp: str = ""
    holder: str = ""


class Process:
    """`python -m ...`. The output of all its runs is in `log`."""

    def __init__(self, directory: Path, name: str, *command: str) -> None:
        self.name, self.command = name, (sys.executable, "-m", *command)
        self.log = directory / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, process_group=0
            )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """As the kernel would: no goodbye. One that has ended by itself is an error, and said."""
        assert self._process is not None
        code = self._process.poll()
        assert code is None, f"{self.name} ended by itself with exit code {code}: {self.words()[-2000:]}"
        self.signal(signal.SIGKILL)
        self._process.wait(10)

    def signal(self, number: int) -> None:
        os.killpg(self.pid, number)

    def freeze(self) -> None:
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self.alive:
            self.signal(signal.SIGCONT)

    def exit_code(self, within: float = 20.0) -> int:
        assert self._process is not None
        return self._process.wait(within)

    def end(self) -> None:
        """Whatever it is doing; it may have ended."""
        if self._process is not None and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._process.wait(10)

    def words(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def led_since(self) -> str:
        """When the present life was elected, as it says itself; '' if it was not."""
        found = ""
        for line in self.words().splitlines():
            if '"leading"' not in line:
                continue
            said = msgspec.json.decode(line, type=_Line)
            if said.event == "leading" and f"/{self.pid}-" in said.holder:
                found = said.timestamp
        return found


def until_said(process: Process, words: str, within: float = 30.0) -> str:
    """The line with these words."""
    deadline = time.monotonic() + within
    while True:
        for line in process.words().splitlines():
            if words in line:
                return line
        assert process.alive, f"{process.name} has ended: {process.words()[-2000:]}"
        assert time.monotonic() < deadline, f"{process.name} never said {words!r}: {process.words()[-2000:]}"
        time.sleep(0.02)
