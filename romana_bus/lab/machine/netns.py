"""Network namespaces by name, as `ip netns` keeps them: /run/netns/NAME.

A thread can be in another namespace than its process. A socket or a child process stays in the namespace in
which it was created: so a thread enters, creates it, and returns. Do not await in between.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from romana_bus.errors import BadInput, Failed
from romana_bus.netlink import namespaces

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

DIRECTORY = Path("/run/netns")
_MNT_DETACH = 2
#: Seconds that `ip` may take.
_WITHIN = 30.0

_libc = ctypes.CDLL(None, use_errno=True)


def path(name: str) -> Path:
    return DIRECTORY / name


def exists(name: str) -> bool:
    """Whether the namespace exists. (A crash may leave its file without a mount.)"""
    try:
        return path(name).stat().st_dev != DIRECTORY.stat().st_dev
    except OSError:
        return False


@contextlib.contextmanager
def inside(name: str) -> Iterator[None]:
    """Runs the block inside the namespace; '' stays in the current one. Raises Failed."""
    if not name:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(namespaces.visited(path(name)))
        except OSError as error:
            raise _no_entry(name, error) from None
        yield


def enter(name: str) -> None:
    """Move this thread into the namespace permanently. Raises Failed."""
    try:
        there = namespaces.opened(path(name))
        try:
            namespaces.enter(there)
        finally:
            namespaces.closed(there)
    except OSError as error:
        raise _no_entry(name, error) from None


def _no_entry(name: str, why: OSError) -> Failed:
    if isinstance(why, FileNotFoundError):
        return Failed(f"there is no network namespace {name}")
    return Failed(f"cannot enter the network namespace {name}: {why.strerror}")


def named(prefix: str) -> list[str]:
    """The namespaces whose names start with `prefix`."""
    try:
        return sorted(name for name in os.listdir(DIRECTORY) if name.startswith(prefix))
    except FileNotFoundError:
        return []


def add(name: str) -> None:
    """Create a namespace, with its loopback up. Raises Failed.

    Uses `ip`, not pyroute2, which forks for each namespace: a process with threads, such as the kubelet, must
    not fork, and would import pyroute2 only for this.
    """
    ip("netns", "add", name)
    ip("-n", name, "link", "set", "lo", "up")


def delete(name: str) -> None:
    """Remove a namespace; a missing one is not an error. Raises Failed."""
    file = path(name)
    _libc.umount2(os.fsencode(file), _MNT_DETACH)
    try:
        file.unlink(missing_ok=True)
    except OSError as error:
        raise Failed(f"cannot remove the network namespace {name}: {error.strerror}") from None


def processes(names: Iterable[str]) -> set[int]:
    """The pids of the processes in these namespaces."""
    known = set()
    for name in names:
        if exists(name):
            known.add(path(name).stat().st_ino)
    pids = set()
    for entry in filter(str.isdigit, os.listdir("/proc")) if known else ():
        with contextlib.suppress(OSError):
            if os.stat(f"/proc/{entry}/ns/net").st_ino in known:
                pids.add(int(entry))
    return pids


def required(*tools: str) -> None:
    """Raises BadInput if one of these programs is not installed."""
    packages = {"ip": "iproute2", "ping": "iputils-ping"}
    for tool in tools:
        if shutil.which(tool, path=search_path()) is None:
            raise BadInput(f"`{tool}` is not installed: apt-get install {packages.get(tool, tool)}")


def ip(*arguments: str) -> None:
    """Run `ip`. Raises Failed with its error."""
    try:
        done = subprocess.run(
            ["ip", *arguments],
            capture_output=True,
            text=True,
            timeout=_WITHIN,
            check=False,
            env=os.environ | {"PATH": search_path()},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failed(f"`ip {' '.join(arguments)}` cannot be run: {error}") from None
    if done.returncode:
        reason = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Failed(f"`ip {' '.join(arguments)}` failed: {reason}")


def sysctl(name: str, settings: dict[str, str]) -> None:
    """Write net.* settings in the namespace; settings that this kernel does not have are skipped."""
    with inside(name):
        for key, value in settings.items():
            with contextlib.suppress(FileNotFoundError):
                Path("/proc/sys/net", key).write_text(value)


def search_path() -> str:
    """PATH, plus the directories in which Debian installs `ip`."""
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"
