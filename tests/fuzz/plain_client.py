"""A NATS client that sends given bytes unchanged: as the administrator, who may say anything."""

from __future__ import annotations

import contextlib
import json
import socket
from typing import TYPE_CHECKING, Self

from tests.identities import ADMINISTRATOR, signature

if TYPE_CHECKING:
    from tests.fuzz.hostile_messages import Sent


class PlainClient:
    def __init__(self, port: int, prefix: str) -> None:
        self._port, self._prefix = port, prefix.encode()
        self._connect()

    def _connect(self) -> None:
        self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        self._lines = self._socket.makefile("rb")
        info = json.loads(self._lines.readline().removeprefix(b"INFO "))
        options = {"verbose": False, "pedantic": False, "headers": True, "echo": False}
        signed = json.dumps(options | signature(ADMINISTRATOR, info["nonce"]))
        self._socket.sendall(f"CONNECT {signed}\r\n".encode())
        self.flush()

    def send(self, sent: Sent) -> None:
        """Published, without asking whether it was stored."""
        subject = self._prefix + sent.subject
        size = len(sent.headers) + len(sent.body)
        if sent.headers:
            line = b"HPUB %s %d %d\r\n" % (subject, len(sent.headers), size)
        else:
            line = b"PUB %s %d\r\n" % (subject, size)
        try:
            self._socket.sendall(line + sent.headers + sent.body + b"\r\n")
        except OSError:  # it did not like the one before
            self._again()

    def flush(self) -> None:
        """Until the server has read all of it; over another connection, where it has cut this one."""
        try:
            self._socket.sendall(b"PING\r\n")
            while (line := self._lines.readline()) != b"PONG\r\n":
                if not line or line.startswith(b"-ERR 'Parser"):
                    self._again()
                    return
        except ConnectionError:
            self._again()

    def _again(self) -> None:
        self.close()
        self._connect()

    def close(self) -> None:
        self._lines.close()
        with contextlib.suppress(OSError):
            self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
