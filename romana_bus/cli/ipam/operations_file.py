"""A file of operations, one JSON object a line: all of them, or every reason why it cannot be played."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.cli.common import literal
from romana_bus.cli.common.file import DEEPEST
from romana_bus.errors import BadInput
from romana_bus.ipam.simulate.operations import OPS, AnyOp, UpdateTopology

if TYPE_CHECKING:
    from pathlib import Path

#: Bytes that are read of it, and of a line. One operation has a topology in it at most.
LARGEST, LONGEST = 64_000_000, 1_000_000
#: How many reasons are told one by one.
NAMED = 50

_decoder = msgspec.json.Decoder(AnyOp)


def read(file: Path) -> list[AnyOp]:
    """Raises BadInput."""
    content = literal.content(file, LARGEST, "the most that is played")
    found: list[AnyOp] = []
    reasons: list[str] = []
    for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
        if line := line.strip():
            try:
                found.append(_op(line))
            except ValueError as error:
                reasons.append(f"{file}: line {number}: {error}")
    if len(reasons) > NAMED:
        reasons[NAMED:] = [f"{file}: and {len(reasons) - NAMED:,} more lines that are wrong"]
    if reasons:
        raise BadInput(*reasons)
    return found


def _op(line: bytes) -> AnyOp:
    """Raises ValueError."""
    if len(line) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} bytes, the most that an operation has")
    try:
        op: AnyOp = _decoder.decode(line)
        twice = literal.repeated_in_json(line.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except msgspec.ValidationError as error:
        hint = f": one of {', '.join(OPS)}" if str(error).endswith("`$.op`") else ""
        raise ValueError(f"{error}{hint}") from None
    except msgspec.DecodeError as error:
        raise ValueError(f"no JSON object: {error}") from None
    if isinstance(op, UpdateTopology) and literal.deep(op.topology, DEEPEST):
        raise ValueError("nested too deeply")
    if twice:
        raise ValueError("; ".join(f"{place}: {said}" for place, said in twice))
    return op
