"""NODE: reports."""

from __future__ import annotations

from typing import ClassVar

from romana_bus.events.base import NODE, Event, token


class Report(Event, frozen=True, kw_only=True):
    """`covers`: for each stream that the reconciler reads, the last sequence that is contained."""

    role: ClassVar[str] = NODE

    node: str
    consumer: str
    covers: dict[str, int] = {}

    def subject(self) -> str:
        return f"node.{token(self.node)}.{token(self.consumer)}"


class Applied(Report, frozen=True, kw_only=True):
    """`changes`: how many changes were made outside; `took`: microseconds."""

    changes: int = 0
    took: int = 0


class ApplyFailed(Report, frozen=True, kw_only=True):
    error: str
    attempt: int = 1


class Wired(Report, frozen=True, kw_only=True):
    """What a node's kernel has: the addresses of pods that are routed to a pod there, each with its pod
    (NAMESPACE/NAME; '' where the agent does not know whose it is). An audit holds the log against it."""

    addresses: dict[str, str] = {}


class Audited(Report, frozen=True, kw_only=True):
    """An audit has looked. `findings`: kind -> how many; `repaired`: how many of them it has corrected."""

    findings: dict[str, int] = {}
    repaired: int = 0
