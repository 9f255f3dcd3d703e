"""A small client of the Container Runtime Interface: sandboxes only, as a kubelet makes them.

Messages are written and read by field number (k8s.io/cri-api/pkg/apis/runtime/v1/api.proto).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Self

import grpc

from romana_bus.lab.kubeapi.protobuf import wire_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

#: Field number -> value: a number, a text, a message, or several of these.
Message = dict[int, Any]
#: Seconds that a call may take.
_WITHIN = 60.0
READY = 0


class Sandbox(NamedTuple):
    """A pod as the kubelet names it. `ports`: (hostPort, containerPort), TCP. `cgroup`: its parent."""

    name: str
    uid: str
    cgroup: str
    ports: tuple[tuple[int, int], ...] = ()
    attempt: int = 0

    def config(self) -> Message:
        return {
            1: {1: self.name, 2: self.uid, 3: "default", 4: self.attempt},
            2: self.name,
            5: [{2: container, 3: host} for host, container in self.ports],
            8: {1: self.cgroup},
        }


class Status(NamedTuple):
    """Of a sandbox. `addresses`: as the CNI result gave them."""

    ready: bool
    addresses: tuple[str, ...]


class Cri:
    """The runtime service at a socket."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._channel.close()

    def run(self, sandbox: Sandbox) -> str:
        """Start a sandbox; returns its id. Raises grpc.RpcError."""
        return _text(self._call("RunPodSandbox", {1: sandbox.config()}), 1)

    def stop(self, sandbox: str) -> None:
        self._call("StopPodSandbox", {1: sandbox})

    def remove(self, sandbox: str) -> None:
        self._call("RemovePodSandbox", {1: sandbox})

    def status(self, sandbox: str) -> Status:
        (status,) = _messages(self._call("PodSandboxStatus", {1: sandbox}), 1)
        (network,) = _messages(status, 5)
        more = [_text(address, 1) for address in _messages(network, 2)]
        return Status(_number(status, 3) == READY, (_text(network, 1), *more))

    def listed(self) -> dict[str, bool]:
        """Id -> whether it is ready, of all sandboxes."""
        items = _messages(self._call("ListPodSandbox", {}), 1)
        return {_text(item, 1): _number(item, 3) == READY for item in items}

    def network_trouble(self) -> str:
        """Why the runtime or its network is not ready; '' if both are."""
        try:
            (status,) = _messages(self._call("Status", {}), 1)
        except grpc.RpcError as error:
            return str(error)
        (condition,) = (each for each in _messages(status, 1) if _text(each, 1) == "NetworkReady")
        return "" if _number(condition, 2) else _text(condition, 4) or "not ready"

    def _call(self, method: str, request: Message) -> bytes:
        call: Callable[..., bytes] = self._channel.unary_unary(f"/runtime.v1.RuntimeService/{method}")
        return call(_encoded(request), timeout=_WITHIN, wait_for_ready=True)


# --- protobuf -------------------------------------------------------------------------------------------


def _encoded(message: Message) -> bytes:
    return b"".join(
        _field(number, each)
        for number, value in message.items()
        for each in (value if isinstance(value, list) else [value])
    )


def _field(number: int, value: int | str | Message) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    body = value.encode() if isinstance(value, str) else _encoded(value)
    return _varint(number << 3 | 2) + _varint(len(body)) + body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _messages(body: bytes, number: int) -> Iterator[bytes]:
    return (value for at, value in wire_fields(body) if at == number and isinstance(value, bytes))


def _text(body: bytes, number: int) -> str:
    return next(_messages(body, number), b"").decode()


def _number(body: bytes, number: int) -> int:
    return next((value for at, value in wire_fields(body) if at == number and isinstance(value, int)), 0)
