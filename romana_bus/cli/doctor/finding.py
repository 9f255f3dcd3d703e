"""What a check says, and what a check is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

#: The states of a check. A warning costs something, or may become a fault; only WRONG counts for the exit
#: code. UNSEEN: it could not be looked at, which is not the same as well.
OK, WARNING, WRONG, UNSEEN = "ok", "warning", "wrong", "not checked"
#: Where a check looks.
NODE, CLUSTER = "node", "cluster"
#: How many things a finding names.
NAMED = 10

F = TypeVar("F")


class Finding(NamedTuple):
    """`found`: what is there. `means`: what follows from it; `do`: what to do about it; both '' where it is
    well. `details`: the things that are meant, one on a line; `more`: how many are left out."""

    state: str
    found: str
    means: str = ""
    do: str = ""
    details: tuple[str, ...] = ()
    more: int = 0


@dataclass(frozen=True)
class Check(Generic[F]):
    """A row of the table. `judge` gets the facts of that type, which `gather/` reads."""

    name: str
    scope: str
    facts: type[F]
    judge: Callable[[F], Finding]


class Unseen(NamedTuple):
    """In the place of facts that could not be gathered."""

    why: str


def ok(found: str) -> Finding:
    return Finding(OK, found)


def wrong(found: str, means: str, do: str, details: Iterable[str] = ()) -> Finding:
    return _named(WRONG, found, means, do, details)


def warning(found: str, means: str, do: str, details: Iterable[str] = ()) -> Finding:
    return _named(WARNING, found, means, do, details)


def unseen(why: str) -> Finding:
    return Finding(UNSEEN, why)


def _named(state: str, found: str, means: str, do: str, details: Iterable[str]) -> Finding:
    every = tuple(details)
    return Finding(state, found, means, do, every[:NAMED], max(0, len(every) - NAMED))


class Row(NamedTuple):
    """A check that was made."""

    name: str
    scope: str
    finding: Finding


def judged(check: Check[Any], facts: dict[type[Any], Any]) -> Row:
    """Judge a check by the gathered facts: type -> facts, or Unseen."""
    found = facts.get(check.facts, Unseen("nothing was gathered"))
    finding = unseen(found.why) if isinstance(found, Unseen) else check.judge(found)
    return Row(check.name, check.scope, finding)
