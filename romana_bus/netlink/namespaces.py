"""Being in another network namespace for a moment. A thread's affair: the others stay where they are."""

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
    """A file descriptor of a namespace; without a path, of the one that this thread is in. What is none is
    not opened: that of a pipe would wait for ever, that of a device might do something. Raises OSError."""
    if os.stat(path).st_dev == os.stat(_OWN).st_dev:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        if fcntl.ioctl(namespace, _NS_GET_NSTYPE) == _CLONE_NEWNET:
            return namespace
        os.close(namespace)
    raise OSError(errno.EINVAL, "it is no network namespace", os.fspath(path))


def closed(namespace: int) -> None:
    os.close(namespace)


def same(one: int, other: int) -> bool:
    """Whether two file descriptors are of one namespace."""
    first, second = os.fstat(one), os.fstat(other)
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def enter(namespace: int) -> None:
    """Raises OSError."""
    if _libc.setns(namespace, _CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


@contextlib.contextmanager
def inside(namespace: int, home: int) -> Iterator[None]:
    """There, and back home whatever happens. A thread that could not come back would work on the wrong
    namespace from then on, so the process ends instead. Raises OSError."""
    enter(namespace)
    try:
        yield
    finally:
        try:
            enter(home)
        except OSError as error:
            log.critical("cannot go back to the network namespace that it came from: ending", why=str(error))
            os._exit(70)


@contextlib.contextmanager
def visited(path: str | os.PathLike[str]) -> Iterator[None]:
    """There, and back where this thread was. Raises OSError."""
    home = opened()
    try:
        there = opened(path)
        try:
            with inside(there, home):
                yield
        finally:
            closed(there)
    finally:
        closed(home)
