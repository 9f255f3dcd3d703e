"""Reads a file of operations, one JSON object per line: all of them, or every reason why it cannot be run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.cli.common.positions import repeated_in_json
from romana_bus.cli.common.topology_file import DEEPEST, deep, read_bytes
from romana_bus.errors import BadInput
from romana_bus.ipam.simulate.operations import OPS, AnyOp, UpdateTopology

if TYPE_CHECKING:
    from pathlib import Path

#: The largest file and the longest line, in bytes. An operation contains a topology at most.
LARGEST, LONGEST = 64_000_000, 1_000_000
#: How many reasons are shown one by one.
NAMED = 50

_decoder = msgspec.json.Decoder(AnyOp)


def read(file: Path) -> list[AnyOp]:
    """Returns the operations of the file. Raises BadInput."""
    try:
        content = read_bytes(file, LARGEST, "the most that is played")
    except ValueError as error:
        raise BadInput(f"{file}: {error}") from None
    operations: list[AnyOp] = []
    reasons: list[str] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line := line.strip():
            try:
                operations.append(_op(line))
            except ValueError as error:
                reasons.append(f"{file}: line {number}: {error}")
    if len(reasons) > NAMED:
        reasons[NAMED:] = [f"{file}: and {len(reasons) - NAMED:,} more wrong lines"]
    if reasons:
        raise BadInput(*reasons)
    return operations


def _op(line: bytes) -> AnyOp:
    """Returns the operation of one line. Raises ValueError."""
    if len(line) > LONGEST:
        raise ValueError(f"an operation is longer than {LONGEST:,} bytes")
    try:
        op: AnyOp = _decoder.decode(line)
        twice = repeated_in_json(line.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.ValidationError as error:
        hint = f": one of {', '.join(OPS)}" if str(error).endswith("`$.op`") else ""
        raise ValueError(f"{error}{hint}") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"not a JSON object: {error}") from None
    if isinstance(op, UpdateTopology) and deep(op.topology, DEEPEST):
        raise ValueError("nested too deeply")
    if twice:
        raise ValueError("; ".join(f"{place}: {text}" for place, text in twice))
    return op
