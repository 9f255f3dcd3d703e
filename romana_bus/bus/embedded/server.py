"""The nats-server process of a state directory: its port, how it starts and stops.

Like the keeper it works inside the directory, with names without a path, since NATS' configuration cannot
express every path. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import time

from romana_bus.bus.embedded import private_files

#: Seconds that it may take to start, and to stop.
START, STOP = 30.0, 10.0
#: How many starts within START seconds may fail before the keeper gives up.
TRIES = 5

ACCESS, CONFIGURATION, STDERR, LOG, STORE = "server.json", "nats.conf", "nats.err", "nats.log", "store"
#: The authorization directory (bus/auth), which users write.
AUTH = "auth"
CONFIG = """\
server_name: "romana-embedded-{port}"
listen: "127.0.0.1:{port}"
include "auth/server.conf"
jetstream {{ store_dir: "store", sync_interval: always, limits {{ default_max_consumers: 50000 }} }}
log_file: "nats.log"
logfile_size_limit: 10MB
logfile_max_num: 3
"""
_CRASH = ("fatal error: ", "panic: ", "runtime: ")
#: The folders of accounts in the store: of servers without accounts, and of the log's (bus/auth).
_GLOBAL, _LOG = "store/jetstream/$G", "store/jetstream/ROMANA"


class Server:
    """One server. `directory`: a descriptor of `path`, and the working directory. `lock`: a descriptor that
    the process inherits. `ready`: whether it listens. Raises Unsafe, OSError."""

    def __init__(self, directory: int, path: str, binary: str, lock: int) -> None:
        self.directory, self.path, self.binary, self.lock = directory, path, binary, lock
        self.port = self._port()
        self.ready = False
        self.reload_due = False  #: set to let the server read its configuration again
        self._process: subprocess.Popen[bytes] | None = None
        self._starts: list[float] = []
        self._trouble = ""

    def start(self) -> None:
        self.ready, self._process, self._trouble = False, None, ""
        self._starts.append(time.monotonic())
        try:
            self._process = self._started()
        except OSError as error:
            self._trouble = f"{error.filename or self.binary}: {error.strerror}"

    def supervise(self) -> str:
        """Start it again if it died; returns '' or, when it gives up, the reason."""
        if self._process is not None and self._process.poll() is None:
            self.ready = self.ready or not _port_is_free(self.port)
            if self.ready and self.reload_due:  # earlier the signal would end it
                self.reload_due = False
                self._process.send_signal(signal.SIGHUP)
            slow = not self.ready and time.monotonic() - self._starts[-1] > START
            return f"nats-server did not listen within {START:.0f} s: {self._last_words()}" if slow else ""
        recent = [started for started in self._starts if time.monotonic() - started < START]
        if len(recent) >= TRIES and not self.ready:
            return f"nats-server ends as soon as it starts: {self._last_words()}"
        time.sleep(0.05 * len(recent))
        self.start()
        return ""

    def stop(self) -> None:
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        _adopt_store()
        private_files.replace(self.directory, CONFIGURATION, CONFIG.format(port=self.port))
        private_files.remove(self.directory, STDERR)
        stderr = private_files.open_file(self.directory, STDERR, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            return subprocess.Popen(
                [self.binary, "-c", os.path.join(self.path, CONFIGURATION)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                pass_fds=[self.lock],
                preexec_fn=_die_with_parent,  # noqa: PLW1509  there are no threads here
            )
        finally:
            os.close(stderr)

    def _last_words(self) -> str:
        if self._trouble:
            return self._trouble
        for name in (STDERR, LOG):
            with contextlib.suppress(OSError, private_files.Unsafe):
                text = private_files.read_end(self.directory, name, 1 << 16).decode(errors="replace").strip()
                if lines := text.splitlines():  # Go writes the reason of a crash first
                    return next((line for line in lines if line.startswith(_CRASH)), lines[-1]).strip()
        return "it printed nothing"

    def _port(self) -> int:
        """The port. It is chosen once and kept with the store, so that users can reconnect."""
        known = self._known()
        if known is not None and _port_is_free(known):
            return known
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        private_files.replace(self.directory, ACCESS, json.dumps({"port": port}))
        return port

    def _known(self) -> int | None:
        """The stored port, if it can be used."""
        with contextlib.suppress(FileNotFoundError, ValueError, RecursionError):
            known = json.loads(private_files.read_end(self.directory, ACCESS, 4096))
            port = known.get("port") if isinstance(known, dict) else None
            if type(port) is int and 0 < port < 65536:
                return port
        return None


def _adopt_store() -> None:
    """Move a store that was written before there were accounts to the log's account."""
    if os.path.isdir(_GLOBAL) and not os.path.exists(_LOG):
        os.rename(_GLOBAL, _LOG)


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) != 0


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
