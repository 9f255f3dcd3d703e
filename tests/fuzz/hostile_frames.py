"""What may be sent to an agent's socket by who is no runtime."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from romana_bus.cni import frame
from tests.fuzz import hostile_json
from tests.fuzz.hostile_events import GHOST

if TYPE_CHECKING:
    import random

#: `CNI_CONTAINERID` and names of nobody: a well-formed call would be a real one.
_CALL = {
    "CNI_COMMAND": "CHECK", "CNI_CONTAINERID": GHOST, "CNI_NETNS": f"/run/netns/{GHOST}",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE={GHOST};K8S_POD_NAME={GHOST};K8S_POD_UID={GHOST}",
}  # fmt: skip
_CONFIG = {"cniVersion": "1.1.0", "name": "pods", "type": "romana-cni", "mtu": 0, "timeout": 1, "dns": {},
"prevResult": {},
           "cni.dev/valid-attachments": [{"containerID": GHOST, "ifname": "eth0"}]}  # fmt: skip
_WORDS = (
    "",
    "\0",
    "x" * 5000,
    "../../etc/passwd",
    "\udcff",
    "a=b",
    "ü",
    "-",
    "/dev/zero",
    "\n",
    "*",
    "VERSION",
    "ADD ",
)
_PREFIXES = (
    b"\0\0\0\0",
    b"\xff\xff\xff\xff",
    b"\0\x11\0\0",
    b"\0\x10\0\0",
    b"\0\0\0\1",
    b"\0",
    b"\x80\0\0\0",
)
_WHOLE = (
    b"", b"GET / HTTP/1.1\r\n\r\n", b"\0" * 100, b"\xff" * 100, b"\0\0\0\1\0", b"\0\0\0\4a=b\0",
    b"\0\0\0\5=\0\0{}",
    b"\x16\x03\x01\x02\x00", b"{}",
)  # fmt: skip


def frame_of(chance: random.Random) -> bytes:
    """What is sent over one connection, before it is closed."""
    match chance.randrange(5):
        case 0:
            return chance.choice(_WHOLE)
        case 1:
            whole = body(chance)
            return chance.choice(_PREFIXES) + whole
        case 2:
            whole = len(inner := body(chance)).to_bytes(4, "big") + inner
            return whole[: chance.randrange(len(whole))]
        case _:
            inner = body(chance)
            return len(inner).to_bytes(4, "big") + inner


def body(chance: random.Random) -> bytes:
    """Of a frame of its size. No call of it can be carried out: either word or configuration is wrong."""
    environment, config = dict(_CALL), json.dumps(_CONFIG).encode()
    environment["CNI_COMMAND"] = chance.choice(("ADD", "DEL", "CHECK", "STATUS", "VERSION", ""))
    if chance.random() < 0.4:
        environment[chance.choice([*environment, "X"])] = chance.choice(_WORDS)
    match chance.randrange(4):
        case 0:
            config = hostile_json.document(chance)
        case 1:
            config = hostile_json.damaged(chance, config)
        case 2:
            config = hostile_json.with_another_value(chance, config)
    packed = frame.packed(environment, config)[frame.HEAD :]
    return packed if chance.random() < 0.9 else hostile_json.damaged(chance, packed)
