"""`romana-bus` as a process: its output, and that it always ends."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable

ROMANA_BUS = str(Path(sys.executable).with_name("romana-bus"))
RECORDINGS = Path(__file__).parents[2] / "recordings"
#: Seconds that anything may take.
DEADLINE = 60.0


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def json_lines(self) -> list[Any]:
        return [json.loads(line) for line in self.lines]

    def complains(self, code: int, *parts: str) -> None:
        """It ended with `code`, nothing on stdout, and, behind what was logged, one line with all `parts`."""
        assert (self.code, self.out) == (code, ""), self
        said = [line for line in self.err.splitlines() if not line.startswith("{")]
        assert len(said) == 1, self.err
        assert said[0].startswith("romana-bus: ")
        for part in parts:
            assert part in said[0], said[0]


def until(condition: Callable[[], Any], what: str) -> Any:
    """Wait for it, and give what it gave."""
    deadline = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)
    return found


class Home:
    """A user of their own: no state but what is under `directory`, and nothing of ours in the environment."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
        self.environment = kept | {
            "HOME": str(directory),
            "XDG_STATE_HOME": str(directory / "state"),
            "LANG": "C.UTF-8",
            "PYTHONWARNINGS": "error",
            "ROMANA_STORE_SIZE": os.environ["ROMANA_STORE_SIZE"],
        }

    def run(self, *arguments: str, stdin: str | bytes = b"", **environment: str) -> Done:
        """To its end."""
        done = subprocess.run(
            [ROMANA_BUS, *arguments],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            env=self.environment | environment,
            timeout=DEADLINE,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def shell(self, line: str, **environment: str) -> Done:
        """`romana-bus` in a bash line."""
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", line.replace("romana-bus", ROMANA_BUS)],
            capture_output=True,
            env=self.environment | environment,
            timeout=DEADLINE,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    def start(self, *arguments: str, within: tuple[str, ...] = (), **environment: str) -> Running:
        """`within`: a command that runs it."""
        process = subprocess.Popen(
            [*within, ROMANA_BUS, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.environment | environment,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        return Running(process, process.stdout.fileno(), process.stderr.fileno())

    def start_on_terminal(self, rows: int, columns: int, *arguments: str) -> Running:
        """As in a terminal window of that size."""
        ours, its = os.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = subprocess.Popen(
            [ROMANA_BUS, *arguments],
            stdin=its,
            stdout=its,
            stderr=its,
            env=self.environment | {"TERM": "xterm-256color"},
            start_new_session=True,
        )
        os.close(its)
        return Running(process, ours)

    def left(self) -> list[int]:
        """The processes of its embedded NATS server."""
        found = []
        for entry in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
                if str(self.directory).encode() in line and int(entry) != os.getpid():
                    found.append(int(entry))
        return found


class Running:
    """A command that has not ended yet. `with` makes sure that it does."""

    def __init__(self, process: subprocess.Popen[bytes], out: int, err: int | None = None) -> None:
        self.process = process
        self._heard = {"out": bytearray(), "err": bytearray()}
        self._readers = [self._read("out", out), *([self._read("err", err)] if err is not None else [])]
        self._own = out if err is None else None  # a terminal's end is ours to close

    def _read(self, name: str, descriptor: int) -> threading.Thread:
        def copy() -> None:
            with contextlib.suppress(OSError):  # the terminal ends with its last user
                while chunk := os.read(descriptor, 1 << 16):
                    self._heard[name] += chunk

        reader = threading.Thread(target=copy, daemon=True)
        reader.start()
        return reader

    @property
    def out(self) -> str:
        return bytes(self._heard["out"]).decode(errors="replace")

    @property
    def err(self) -> str:
        return bytes(self._heard["err"]).decode(errors="replace")

    @property
    def frames(self) -> list[str]:
        """What a terminal showed, picture by picture, as plain text."""
        return [plain(frame) for frame in self.out.split("\x1b[H")]

    def until(self, condition: Callable[[], Any], what: str) -> Any:
        def met_or_over() -> Any:
            if found := condition():
                return found
            assert self.process.poll() is None, f"it ended before: {what}\n{self.out}\n{self.err}"
            return None

        return until(met_or_over, what)

    def until_logged(self, event: str) -> Any:
        """The JSON log line of that name."""
        return self.until(lambda: next((one for one in self.logged if one["event"] == event), None), event)

    @property
    def logged(self) -> list[Any]:
        whole = self.err[: self.err.rfind("\n") + 1]
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def wait(self) -> Done:
        """Until it has ended by itself."""
        code = self.process.wait(DEADLINE)
        for reader in self._readers:
            reader.join(DEADLINE)
        return Done(code, self.out, self.err)

    def stop(self, number: int = signal.SIGTERM) -> Done:
        self.process.send_signal(number)
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()
        if self._own is not None:
            os.close(self._own)


def plain(text: str) -> str:
    """Without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).replace("\r\n", "\n")
