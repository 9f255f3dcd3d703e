"""What a test wants to go wrong with the next requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.lab.calls import Call


@dataclass
class Fault:
    """Happens to the next `times` requests of `verb` (as RBAC names it) on `plural`; '' is any.

    One of: `code` (429, 500, 503 or 504) is answered, with `retry_after` in seconds; `silent`: headers,
    and then nothing; `cut_at`: the connection is closed after so many bytes of the body of a list or
    watch; `line`: raw bytes in a watch, behind what it begins with."""

    verb: str = ""
    plural: str = ""
    times: int = 1
    code: int = 0
    retry_after: int | None = None
    silent: bool = False
    cut_at: int | None = None
    line: bytes = b""


NONE = Fault()


def take(pending: list[Fault], call: Call) -> Fault:
    """The first that is meant for `call`, one time less; NONE if there is none."""
    for fault in pending:
        if fault.verb in ("", call.verb) and fault.plural in ("", call.resource.plural):
            fault.times -= 1
            if fault.times <= 0:
                pending.remove(fault)
            return fault
    return NONE
