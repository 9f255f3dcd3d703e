"""Calls of the executable alone, and how an agent may end during one."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

from romana_bus.cni import frame
from tests.cni.calling import Answer, invoke

if TYPE_CHECKING:
    import socket
    from pathlib import Path

PATH = {"PATH": os.environ["PATH"]}


def taken(caller: socket.socket) -> frame.Request:
    stream = caller.makefile("rb")
    return frame.request(stream.read(int.from_bytes(stream.read(4), "big")))


def call(client: Path, stdin: bytes, command: str = "ADD", **environment: str) -> Answer:
    return invoke(client, {"CNI_COMMAND": command, "PATH": os.environ["PATH"]} | environment, stdin)


def config(path: object, **fields: Any) -> bytes:
    return json.dumps({"cniVersion": "1.0.0", "socket": str(path)} | fields).encode()


def last_status(text: bytes, counts: int, code: int = 0, ago: int = 0) -> bytes:
    """What an agent keeps of its last answer. `counts`, `ago`: ms."""
    now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
    return f"{code} {now - ago} {counts}\n".encode() + text


def cut(caller: socket.socket) -> None:
    taken(caller)
    caller.sendall(frame.answer(0, b'{"half": "an answer"}')[:-4])


def nothing(caller: socket.socket) -> None:
    taken(caller)


def unread(caller: socket.socket) -> None:
    caller.recv(1)


def huge(caller: socket.socket) -> None:
    taken(caller)
    caller.sendall(b"\xff\xff\xff\xff" + b"x" * 100)


def empty(caller: socket.socket) -> None:
    taken(caller)
    caller.sendall(b"\0\0\0\0")


#: Ends of an agent during a call.
DEATHS = (cut, nothing, unread, huge, empty)
