"""The streams of the log: one row each. Everything else about streams follows from this table: their names
and subjects at the server, filters, `events tail`, `status`, tests, and the event reference.
"""

from __future__ import annotations

from typing import NamedTuple

from romana_bus.events import ipam, kube, node, spec
from romana_bus.events.base import Event, LeaderElected


class Stream(NamedTuple):
    """`name`: its role, as in `KUBE/17`; its subjects begin with the same word in lower case. `events`: what
    is on it. `holds`: that in a few words; `meaning`: in a sentence, with who writes it. `writer`: the
    consumer whose leader alone writes it, and `command`: what starts that consumer; both '' where each
    subject is written by compare-and-set."""

    name: str
    events: tuple[type[Event], ...]
    holds: str
    meaning: str
    writer: str = ""
    command: str = ""

    @property
    def token(self) -> str:
        """The first token of its subjects."""
        return self.name.lower()


#: In the order in which they are shown: causes before their effects.
STREAMS = (
    Stream(
        spec.SPEC, spec.EVENTS, "what operators want",
        "What operators and audits want. Each subject is written by compare-and-set.",
    ),
    Stream(
        kube.KUBE, kube.EVENTS, "what the API server shows",
        "Facts: what the watcher saw at the API server. Written by the watcher that leads.", "watch", "watch",
    ),
    Stream(
        ipam.IPAM, ipam.EVENTS, "places and addresses",
        "Decisions: places of nodes, blocks and addresses. Written by the IPAM consumer that leads.", "ipam",
        "run ipam",
    ),
    Stream(
        node.NODE, node.EVENTS, "reports of nodes",
        "Reports of agents and audits, and what a node's CNI server asks for.",
    ),
)  # fmt: skip

#: Their names.
ROLES = tuple(stream.name for stream in STREAMS)
#: Those that have a leader, which alone writes them.
LED = tuple(stream for stream in STREAMS if stream.writer)

#: All events: what the codec can decode.
STORED: tuple[type[Event], ...] = (LeaderElected, *(event for stream in STREAMS for event in stream.events))


def roles_of(pattern: str) -> tuple[str, ...]:
    """The streams that a subject pattern can match, by its first token."""
    first = pattern.partition(".")[0]
    return tuple(stream.name for stream in STREAMS if first in (">", "*", stream.token))
