"""Enter another network namespace for a moment. Only the calling thread enters it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Iterator

log = structlog.get_logger(__name__)

_CLONE_NEWNET, _NS_GET_NSTYPE = 0x40000000, 0xB703
_OWN = "/proc/thread-self/ns/net"
_libc = ctypes.CDLL(None, use_errno=True)  # os.setns came with Python 3.12


def opened(path: str | os.PathLike[str] = _OWN) -> int:
    """A file descriptor of a network namespace; without a path, of this thread's. Nothing else is opened:
    opening a pipe would block, and opening a device might have effects. Raises OSError."""
    if os.stat(path).st_dev == os.stat(_OWN).st_dev:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if fcntl.ioctl(namespace, _NS_GET_NSTYPE) == _CLONE_NEWNET:
            return namespace
        os.close(namespace)
    raise OSError(errno.EINVAL, "not a network namespace", os.fspath(path))


def closed(namespace: int) -> None:
    os.close(namespace)


def same(one: int, other: int) -> bool:
    """Whether two file descriptors are of the same namespace."""
    first, second = os.fstat(one), os.fstat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def enter(namespace: int) -> None:
    """Move this thread into a namespace. Raises OSError."""
    if _libc.setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def inside(namespace: int, home: int) -> Iterator[None]:
    """Run in `namespace`, and return to `home`. If the thread cannot return, the process ends, since it would
    work in the wrong namespace from then on. Raises OSError."""
    enter(namespace)
    try:
        yield
    finally:
        try:
            enter(home)
        except OSError as error:
            log.critical("cannot return to the previous network namespace: ending", why=str(error))
            os._exit(70)


@contextlib.contextmanager
def visited(path: str | os.PathLike[str]) -> Iterator[None]:
    """Run in the namespace of `path`, and return to this thread's. Raises OSError."""
    home = opened()
    try:
        namespace = opened(path)
        try:
            with inside(namespace, home):
                yield
        finally:
            closed(namespace)
    finally:
        closed(home)
