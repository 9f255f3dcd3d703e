"""The keeper of the embedded NATS server: a process of its own that lives as long as somebody uses it.

    python -m romana_bus.bus.embedded.keeper STATE_DIR NATS_SERVER

Users hold a connection to `keeper.sock`; they are told where the server is, and when the last one has
gone, however it died, the server ends. A server that dies is started again on the same port. The lock
is handed down to the server, so that no second server ever opens the same store, even when the keeper
was killed and its server is still on its way down.

Why it cannot start stands on stdout, which is closed once users can come. Standard library only: it starts
in 20 ms and stays below 15 MB.
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

#: Seconds that the server stays when the last user has gone.
LINGER = 2.0
#: Descriptors that users cannot have, and as many as there may be at all.
RESERVED, DESCRIPTORS = 32, 65_536

SOCKET, STDERR, LOCK = "keeper.sock", "keeper.err", "keeper.lock"
#: What is in the directory.
FILES = (STDERR, LOCK, server.ACCESS, server.CONFIGURATION, server.STDERR, server.LOG)
ENTRIES = dict.fromkeys(FILES, stat.S_IFREG) | {SOCKET: stat.S_IFSOCK, server.STORE: stat.S_IFDIR}


class Keeper:
    def __init__(self, path: str, binary: str) -> None:
        self.path, self.binary = path, binary
        self.directory = open_directory(path)
        os.fchdir(self.directory)
        self.lock = private_files.open_file(self.directory, LOCK, os.O_RDWR | os.O_CREAT)
        self.selector = selectors.DefaultSelector()
        self.users: set[socket.socket] = set()
        self.waiting: set[socket.socket] = set()
        self.room = _room()

    def run(self) -> int:
        if not self._alone():
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
                if reason := self.server.mind():
                    _tell(self.waiting, {"error": reason})
                    return 1
        finally:
            # First no more users: one that comes now has to start the next keeper.
            private_files.remove(self.directory, SOCKET)
            listener.close()
            self.server.stop()

    def _alone(self) -> bool:
        """Take the lock, or find that a living keeper has it."""
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
        """Let users in, notice those who left; at most a tick."""
        for key, _ in self.selector.select(0.5 if self.server.ready else 0.02):
            if key.fileobj is listener:
                self._let_in(listener)
            elif isinstance(key.fileobj, socket.socket) and not _is_there(key.fileobj):
                self._forget(key.fileobj)
        if self.server.ready and self.waiting:
            access = self.server.access
            _tell(self.waiting, {"url": f"nats://127.0.0.1:{access['port']}", **access})
            self.users |= self.waiting
            self.waiting = set()

    def _let_in(self, listener: socket.socket) -> None:
        try:
            user, _ = listener.accept()
        except BlockingIOError:  # it has left already
            return
        except OSError:  # the machine has no descriptor or no memory left, and the user stays in the queue
            time.sleep(0.05)
            return
        user.setblocking(False)
        if len(self.users) + len(self.waiting) >= self.room:
            _tell((user,), {"error": f"{self.room} processes use the embedded server, the most it can have"})
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
    """The keeper's socket, for somebody who works elsewhere. An address has room for 107 bytes (unix(7))."""
    whole = os.path.join(path, SOCKET)
    if whole.isascii() and len(whole) < 100:
        return whole
    return f"/proc/self/fd/{directory}/{SOCKET}"


def _room() -> int:
    """How many users there can be: descriptors up to the hard limit are ours to take."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(1, limit - RESERVED)


def _tell(users: Iterable[socket.socket], answer: dict[str, object]) -> None:
    for user in users:
        with contextlib.suppress(OSError):
            user.sendall(json.dumps(answer).encode() + b"\n")


def _is_there(user: socket.socket) -> bool:
    try:
        return bool(user.recv(1024))
    except BlockingIOError:
        return True
    except OSError:
        return False


def _close_stdout() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def main() -> int:
    """Leave the process that started us: it need not wait, and cannot take us down with it."""
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
