"""The keeper of the embedded NATS server: a process of its own that lives as long as somebody uses it.

    python -m romana_bus.bus.keeper STATE_DIR NATS_SERVER

Users hold a connection to `keeper.sock`; they are told where the server is, and when the last one has
gone, however it died, the server ends. A server that dies is started again on the same port. The lock
is handed down to the server, so that no second server ever opens the same store, even when the keeper
was killed and its server is still on its way down.

Standard library only: it starts in 20 ms and stays below 15 MB.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

#: Seconds that the server stays when the last user has gone; that it may take to start, and to stop.
LINGER, START, STOP = 2.0, 30.0, 10.0
#: Starts within START that may fail before the keeper gives up and tells its users why.
TRIES = 5

CONFIG = """\
server_name: "{name}"
listen: "127.0.0.1:{port}"
authorization {{ user: "{user}", password: "{password}" }}
jetstream {{ store_dir: {store}, sync_interval: always }}
log_file: {log}
logfile_size_limit: 10MB
logfile_max_num: 3
"""


class Keeper:
    def __init__(self, directory: Path, binary: str) -> None:
        self.directory, self.binary = directory, binary
        self.lock = os.open(directory / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self.users: list[socket.socket] = []
        self.waiting: list[socket.socket] = []
        self.server: subprocess.Popen[bytes] | None = None
        self.starts: list[float] = []
        self.ready = False

    def run(self) -> int:
        if not self._alone():
            return 0
        self.access = self._access()
        listener = self._listen()
        idle_since = time.monotonic()
        try:
            self._start()
            while True:
                if self.users or self.waiting:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > LINGER:
                    return 0
                self._serve(listener)
                if reason := self._mind_the_server():
                    self._tell({"error": reason})
                    return 1
        finally:
            # First no more users: one that comes now has to start the next keeper.
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.directory / "keeper.sock")
            listener.close()
            self._stop()

    def _alone(self) -> bool:
        """Take the lock, or find that a living keeper has it."""
        until = time.monotonic() + STOP + 5
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.connect(socket_path(self.directory))
                return False
            if time.monotonic() > until:
                return False
            time.sleep(0.05)

    def _listen(self) -> socket.socket:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.directory / "keeper.sock")
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(socket_path(self.directory))
        listener.listen(64)
        return listener

    def _access(self) -> dict[str, object]:
        """Port and credentials: made once, kept with the store, so that users can come back."""
        path = self.directory / "server.json"
        with contextlib.suppress(FileNotFoundError, ValueError):
            known: dict[str, object] = json.loads(path.read_text())
            if _port_is_free(int(str(known["port"]))):
                return known
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        made: dict[str, object] = {"port": port, "user": "romana", "password": secrets.token_urlsafe(24)}
        _write_private(path, json.dumps(made))
        return made

    def _start(self) -> None:
        config = CONFIG.format(
            name=f"romana-embedded-{self.access['port']}",
            store=json.dumps(str(self.directory / "store")),
            log=json.dumps(str(self.directory / "nats.log")),
            **self.access,
        )
        _write_private(self.directory / "nats.conf", config)
        self.ready = False
        self.starts.append(time.monotonic())
        with (self.directory / "nats.err").open("wb") as words:
            self.server = subprocess.Popen(
                [self.binary, "-c", str(self.directory / "nats.conf")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=words,
                pass_fds=[self.lock],
                preexec_fn=_die_with_parent,  # noqa: PLW1509  there are no threads here
            )

    def _serve(self, listener: socket.socket) -> None:
        """Let users in, notice those who left; at most a tick."""
        tick = 0.5 if self.ready else 0.02
        readable, _, _ = select.select([listener, *self.users, *self.waiting], [], [], tick)
        for one in readable:
            if one is listener:
                self.waiting.append(listener.accept()[0])
            elif not _says_something(one):
                one.close()
                (self.users if one in self.users else self.waiting).remove(one)
        if self.ready and self.waiting:
            self._tell({"url": f"nats://127.0.0.1:{self.access['port']}", **self.access})
            self.users += self.waiting
            self.waiting = []

    def _tell(self, answer: dict[str, object]) -> None:
        for one in self.waiting:
            with contextlib.suppress(OSError):
                one.sendall(json.dumps(answer).encode() + b"\n")

    def _mind_the_server(self) -> str:
        """Start it again if it died; gives the reason once that has become pointless."""
        assert self.server is not None
        if self.server.poll() is None:
            self.ready = self.ready or not _port_is_free(int(str(self.access["port"])))
            slow = not self.ready and time.monotonic() - self.starts[-1] > START
            return f"nats-server did not listen within {START:.0f} s: {self._last_words()}" if slow else ""
        recent = [at for at in self.starts if time.monotonic() - at < START]
        if len(recent) >= TRIES and not self.ready:
            return f"nats-server ends as soon as it starts: {self._last_words()}"
        time.sleep(0.05 * len(recent))
        self._start()
        return ""

    def _last_words(self) -> str:
        for name in ("nats.err", "nats.log"):
            with contextlib.suppress(OSError):
                if lines := (self.directory / name).read_text(errors="replace").strip().splitlines():
                    return lines[-1]
        return "it said nothing"

    def _stop(self) -> None:
        if self.server is None or self.server.poll() is not None:
            return
        self.server.terminate()
        try:
            self.server.wait(STOP)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()


def socket_path(directory: Path) -> str:
    """The keeper's socket. Where the directory's own path is too long for an address (unix(7): 108
    bytes), by way of a descriptor that stays open."""
    path = str(directory / "keeper.sock")
    if len(path) < 100:
        return path
    return f"/proc/self/fd/{os.open(directory, os.O_PATH | os.O_DIRECTORY)}/keeper.sock"


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _says_something(one: socket.socket) -> bool:
    with contextlib.suppress(OSError):
        return bool(one.recv(1024))
    return False


def _write_private(path: Path, text: str) -> None:
    """Whole or not at all, readable by the owner alone."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    os.replace(new, path)


def main() -> int:
    """Leave the process that started us: it need not wait, and cannot take us down with it."""
    if os.fork():
        return 0
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    return Keeper(Path(sys.argv[1]), sys.argv[2]).run()


if __name__ == "__main__":
    sys.exit(main())
