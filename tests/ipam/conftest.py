"""`romana-bus ipam simulate` in this process, as a user would call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from romana_bus.cli import app

if TYPE_CHECKING:
    from pathlib import Path


class Played(NamedTuple):
    """`results`: a line for each operation; `end`: the last line, {} where nothing was played."""

    code: int
    results: list[dict[str, Any]]
    end: dict[str, Any]
    err: str

    @property
    def short(self) -> list[Any]:
        """What was given, or the kind of error; True where an operation only has to succeed."""
        return [
            line.get("result", True) if line["ok"] else line["error_kind"] for line in self.results
        ]  # fmt: skip


Play = Callable[..., Played]


@pytest.fixture
def play(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Play:
    """A topology and operations, played as Romana did: a block for each host, tenant and segment, no
    cooldown."""

    def played(document: Any, ops: list[dict[str, Any]], *options: str) -> Played:
        topology, file = tmp_path / "topology.json", tmp_path / "ops.jsonl"
        topology.write_text(json.dumps(document))
        file.write_text("".join(json.dumps(op) + "\n" for op in ops))
        capsys.readouterr()
        code = app.call(
            ["ipam", "simulate", "--topology", str(topology), "--ops", str(file),
             *(options or ("--block-owner", "segment", "--cooldown", "0"))]
        )  # fmt: skip
        out, err = capsys.readouterr()
        lines = [json.loads(line) for line in out.splitlines()]
        end = lines.pop() if lines and "tree" in lines[-1] else {}
        return Played(code, lines, end, err)

    return played
