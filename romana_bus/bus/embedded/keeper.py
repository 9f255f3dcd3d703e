"""The keeper of the embedded NATS server: a process that runs as long as the server has users.

    python -m romana_bus.bus.embedded.keeper STATE_DIR NATS_SERVER

A user holds a connection to `keeper.sock`, and receives the server's endpoint on it. When the last user has
gone, however it died, the server ends. What a user sends means that the identities have changed (`auth/`):
the server reads them again. A server that dies is started again on the same port. The server inherits the
lock, so that no second server opens the same store, even if the keeper was killed and its server
is still stopping.

If the keeper cannot start, it writes the reason to stdout; it closes stdout once it accepts users. Standard
library only: it starts in 20 ms and stays below 15 MB.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import selectors
import signal
import socket
import stat
import sys
import time
from typing import TYPE_CHECKING

from romana_bus.bus.embedded import private_files, server

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds that the server stays after the last user has gone.
LINGER = 2.0
#: Descriptors that are reserved for the keeper itself, and the limit that it asks for.
RESERVED, DESCRIPTORS = 32, 65_536

SOCKET, STDERR, LOCK = "keeper.sock", "keeper.err", "keeper.lock"
#: What the state directory may contain.
FILES = (STDERR, LOCK, server.ACCESS, server.CONFIGURATION, server.STDERR, server.LOG)
DIRECTORIES = (server.STORE, server.AUTH)
ENTRIES = (
    dict.fromkeys(FILES, stat.S_IFREG) | dict.fromkeys(DIRECTORIES, stat.S_IFDIR) | {SOCKET: stat.S_IFSOCK}
)


class Keeper:
    """One run of the keeper. `path`: the state directory. `binary`: nats-server. Raises Unsafe, OSError."""

    def __init__(self, path: str, binary: str) -> None:
        self.path, self.binary = path, binary
        self.directory = open_directory(path)
        os.fchdir(self.directory)
        self.lock = private_files.open_file(self.directory, LOCK, os.O_RDWR | os.O_CREAT)
        self.selector = selectors.DefaultSelector()
        self.users: set[socket.socket] = set()
        self.waiting: set[socket.socket] = set()
        self.max_users = _max_users()

    def run(self) -> int:
        """Serve until the last user has gone; returns the exit code."""
        if not self._lock():
            return 0
        self.server = server.Server(self.directory, self.path, self.binary, self.lock)
        listener = self._listen()
        idle_since = time.monotonic()
        try:
            self.server.start()
            while True:
                if self.users or self.waiting:
                    idle_since = time.monotonic()
                elif time.monotonic() - idle_since > LINGER:
                    return 0
                self._serve(listener)
                if reason := self.server.supervise():
                    _send(self.waiting, {"error": reason})
                    return 1
        finally:
            # First refuse new users: one that comes now has to start the next keeper.
            private_files.remove(self.directory, SOCKET)
            listener.close()
            self.server.stop()

    def _lock(self) -> bool:
        """Take the lock. False if another keeper has it, and runs."""
        until = time.monotonic() + server.STOP + 5
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                probe.settimeout(1.0)
                probe.connect(SOCKET)
                return False
            if time.monotonic() > until:
                return False
            time.sleep(0.05)

    def _listen(self) -> socket.socket:
        private_files.remove(self.directory, SOCKET)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(SOCKET)
        listener.listen(1024)
        listener.setblocking(False)
        self.selector.register(listener, selectors.EVENT_READ)
        _close_stdout()
        return listener

    def _serve(self, listener: socket.socket) -> None:
        """Accept users, notice those that left, and send the endpoint; waits for at most one tick."""
        for key, _ in self.selector.select(0.5 if self.server.ready else 0.02):
            if key.fileobj is listener:
                self._accept(listener)
            elif isinstance(key.fileobj, socket.socket):
                if _has_sent(key.fileobj):
                    self.server.reload_due = True
                else:
                    self._forget(key.fileobj)
        if self.server.ready and self.waiting:
            _send(self.waiting, {"url": f"nats://127.0.0.1:{self.server.port}"})
            self.users |= self.waiting
            self.waiting = set()

    def _accept(self, listener: socket.socket) -> None:
        try:
            user, _ = listener.accept()
        except BlockingIOError:  # it has already left
            return
        except OSError:  # no descriptor or no memory is left; the user stays in the queue
            time.sleep(0.05)
            return
        user.setblocking(False)
        if len(self.users) + len(self.waiting) >= self.max_users:
            error = f"{self.max_users} processes use the embedded server, the most it can have"
            _send((user,), {"error": error})
            user.close()
            return
        self.selector.register(user, selectors.EVENT_READ)
        self.waiting.add(user)

    def _forget(self, user: socket.socket) -> None:
        self.selector.unregister(user)
        user.close()
        self.users.discard(user)
        self.waiting.discard(user)


def open_directory(path: str) -> int:
    """A descriptor of the state directory, safe to work in. Raises Unsafe, OSError."""
    directory = private_files.open_directory(path)
    try:
        private_files.check(directory, path, ENTRIES)
    except BaseException:
        os.close(directory)
        raise
    return directory


def socket_path(path: str, directory: int) -> str:
    """Path of the keeper's socket for a process in another working directory; a socket's path has at most
    107 bytes (unix(7)). `directory`: a descriptor of the state directory."""
    whole = os.path.join(path, SOCKET)
    if whole.isascii() and len(whole) < 100:
        return whole
    return f"/proc/self/fd/{directory}/{SOCKET}"


def _max_users() -> int:
    """How many users there can be, after raising the limit of descriptors as far as allowed."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(1, limit - RESERVED)


def _send(users: Iterable[socket.socket], answer: dict[str, object]) -> None:
    for user in users:
        with contextlib.suppress(OSError):
            user.sendall(json.dumps(answer).encode() + b"\n")


def _has_sent(user: socket.socket) -> bool:
    """Whether a readable user has sent something; False: he has left."""
    try:
        return bool(user.recv(1024))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _close_stdout() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)


def main() -> int:
    """Run in the background: the process that started the keeper need not wait, and its end does not end
    the keeper."""
    try:
        if os.fork():
            return 0
        os.setsid()
        os.umask(0o077)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        return Keeper(sys.argv[1], sys.argv[2]).run()
    except private_files.Unsafe as error:
        reason = str(error)
    except OSError as error:
        reason = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
    os.write(1, os.fsencode(reason))
    return 1


if __name__ == "__main__":
    sys.exit(main())
