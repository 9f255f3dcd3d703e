"""The namespaces of a node that runs containers: its network, and mounts and processes of its own.

A container runtime leaves processes that are nobody's children (shims, containers, monitors), mounts, and
files below /run and /var/lib. Here all of them end with the first process of the PID namespace, whatever
becomes of the test: it dies with the thread that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

#: What runtimes look for by default; both are only the machine's.
BIN_DIR, CONF_DIR = "/opt/cni/bin", "/etc/cni/net.d"
#: Makes the machine's own directories. Then it is an init that reaps: processes whose parents have ended are
#: its children.
_INIT = """
set -e
mkdir -p /etc/cni
for each in /run /var/lib /etc/cni /opt; do mount -t tmpfs none $each; done
mkdir -p /run/netns /etc/cni/net.d /opt/cni/bin
ln -s "$1"/* /opt/cni/bin
trap "" CHLD
echo ready
exec cat
"""
_CLONE_NEWPID = 0x20000000
_libc = ctypes.CDLL(None, use_errno=True)


class Machine:
    """`plugins`: the directory of CNI plugins that it has."""

    def __init__(self, netns: str, plugins: Path) -> None:
        self._netns, self._plugins = netns, plugins
        self.cgroup = f"/{netns}"
        self._init: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._init = subprocess.Popen(
            [
                "nsenter", f"--net=/run/netns/{self._netns}",
                "unshare", "--mount", "--pid", "--fork", "--mount-proc",
                "sh", "-c", _INIT, "init", self._plugins,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == b"ready\n", "the machine did not start"
        return self

    def __exit__(self, *_: object) -> None:
        assert self._init is not None
        for pipe in (self._init.stdin, self._init.stdout):
            assert pipe is not None
            pipe.close()
        self._init.wait(20)  # it ends when all processes of the machine are reaped, those that we started too
        root, name = Path("/sys/fs/cgroup"), self.cgroup.strip("/")
        for group in (*root.glob(name), *root.glob(f"*/{name}")):
            for each in (*sorted(group.rglob("*/"), reverse=True), group):
                each.rmdir()

    def _ns(self, kind: str) -> str:
        assert self._init is not None
        return f"/proc/{self._init.pid}/ns/{kind}"

    @property
    def entering(self) -> tuple[str, ...]:
        """A command that runs another one with the machine's network and mounts, and stays the same
        process."""
        return "nsenter", f"--net={self._ns('net')}", f"--mount={self._ns('mnt')}"

    @contextlib.contextmanager
    def processes(self) -> Iterator[None]:
        """What this thread starts is in the machine's PID namespace. No thread can be started meanwhile."""
        with open("/proc/thread-self/ns/pid") as own, open(self._ns("pid_for_children")) as there:
            _set_pid_namespace(there.fileno())
            try:
                yield
            finally:
                _set_pid_namespace(own.fileno())

    def start(self, *command: str | os.PathLike[str], **options: Any) -> subprocess.Popen[bytes]:
        with self.processes():
            return subprocess.Popen([*self.entering, *command], stdin=subprocess.DEVNULL, **options)

    def run(self, *command: str | os.PathLike[str], code: int = 0, **options: Any) -> str:
        """The output of a command that ends with that code."""
        process = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
            process.wait()
        assert process.returncode == code, f"{command}: {process.returncode}\n{err.decode()}{out.decode()}"
        return out.decode()


def _set_pid_namespace(file: int) -> None:
    """Of the processes that this thread starts."""
    if _libc.setns(file, _CLONE_NEWPID):
        raise OSError(ctypes.get_errno(), "setns")
