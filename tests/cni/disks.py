"""A small disk for what an agent keeps: full, or read-only."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cni.node import Node


@contextlib.contextmanager
def small(node: Node, directory: Path) -> Iterator[Path]:
    """A disk of 64 KiB there; the agent has ended before it is taken away."""
    directory.mkdir()
    line = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(directory)]
    if subprocess.run(line, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        yield directory
    finally:
        node.stop()
        subprocess.run(["umount", str(directory)], check=True)


def fill(directory: Path) -> None:
    with contextlib.suppress(OSError), (directory / "big").open("wb") as big:
        while True:
            big.write(b"x" * 4096)
            big.flush()


def remount(directory: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(directory)], check=True)
