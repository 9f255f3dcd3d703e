"""`ip` in a network namespace: what the lab has done by pyroute2, seen and changed by another program."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable


def ip(*arguments: str, stdin: str = "") -> str:
    done = subprocess.run(["ip", *arguments], input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def batch(namespace: str, lines: Iterable[str]) -> None:
    """Many commands, up to the first that fails."""
    ip("-n", namespace, "-batch", "-", stdin="\n".join(lines) + "\n")


def asked(namespace: str, *arguments: str) -> list[dict[str, Any]]:
    """The output of `ip -json` in that namespace."""
    text = ip("-json", "-n", namespace, *arguments).strip()
    return msgspec.json.decode(text, type=list[dict[str, Any]]) if text else []
