"""A thread's netlink socket in the node's namespace, and descriptors of pods' namespaces."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from romana_bus.netlink import links, namespaces
from romana_bus.netlink.socket import Failure, Interrupted, NetlinkError, Socket

if TYPE_CHECKING:
    from collections.abc import Iterator

_thread = threading.local()


class NoNamespace(Exception):
    """There is no network namespace at that path, or it is the node's own."""


def home() -> int:
    """The node's namespace, in which every worker thread starts."""
    if not hasattr(_thread, "home"):
        _thread.home = namespaces.opened()
    home: int = _thread.home
    return home


@contextlib.contextmanager
def host_socket() -> Iterator[Socket]:
    """This thread's socket in the node's namespace. After an error of the socket itself, such as a timeout,
    it is replaced: a late answer would be taken for that of the next request."""
    if not hasattr(_thread, "socket"):
        _thread.socket = Socket()
    socket: Socket = _thread.socket
    try:
        yield socket
    except NetlinkError:
        raise
    except OSError:
        socket.close()
        if getattr(_thread, "socket", None) is socket:
            del _thread.socket
        raise


@contextlib.contextmanager
def pod_namespace(path: str) -> Iterator[int]:
    """A descriptor of a pod's namespace. Raises NoNamespace."""
    try:
        pod = namespaces.opened(path)
    except OSError as error:
        raise NoNamespace(f"{path}: {error.strerror}") from None
    try:
        if namespaces.same(pod, home()):
            raise NoNamespace(f"{path} is the node's own network namespace")
        yield pod
    finally:
        namespaces.closed(pod)


def read_link(socket: Socket, request: bytes) -> links.Link:
    """Raises NetlinkError."""
    (answer,) = socket.ask([request])
    if isinstance(answer, Failure):
        raise NetlinkError(answer.errno, str(answer))
    return links.link(answer)


def route_to(socket: Socket, width: int, value: int) -> links.Route | None:
    (answer,) = socket.ask([links.get_route(width, value)])
    return None if isinstance(answer, Failure) else next(links.routes([answer]), None)


def dump(socket: Socket, request: bytes) -> list[bytes]:
    while True:
        with contextlib.suppress(Interrupted):
            return socket.dump(request)
