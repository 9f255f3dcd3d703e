"""An authorization directory, and what is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call


@pytest.fixture
def auth(call: Call, tmp_path: Path) -> Path:
    """One with the agent of n1."""
    assert call("auth", "init", str(tmp_path / "auth"), "--cluster", "c1").code == 0
    assert call("auth", "add", str(tmp_path / "auth"), "agent", "--node", "n1").code == 0
    return tmp_path / "auth"


def contents(directory: Path) -> dict[str, bytes | None]:
    """Of all files below it, by their paths; None for what is no file."""
    return {
        str(path.relative_to(directory)): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }
