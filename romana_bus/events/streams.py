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
    subject is written by compare-and-set. `parts`: filters that thousands of readers follow (`bus/parts.py`);
    `*` stands for what differs from reader to reader, and has to be their last but one token. `share`:
    percent of the store's bytes that its log may have (`bus/store_size.py`). `tombstones`: seconds for which
    they stay in the table; 0: as long as in the log, since they are orders that somebody may still have to
    carry out."""

    name: str
    events: tuple[type[Event], ...]
    holds: str
    meaning: str
    writer: str = ""
    command: str = ""
    parts: tuple[str, ...] = ()
    share: int = 0
    tombstones: int = 3600

    @property
    def token(self) -> str:
        """The first token of its subjects."""
        return self.name.lower()


#: In the order in which they are shown: causes before their effects.
STREAMS = (
    Stream(
        spec.SPEC, spec.EVENTS, "what operators set",
        "What operators and audits set. Each subject is written by compare-and-set.",
        share=4, tombstones=0,
    ),
    Stream(
        kube.KUBE, kube.EVENTS, "what the API server shows",
        "Facts: what the watcher saw at the API server. Written by the watcher that leads.",
        "watch", "watch", share=36,
    ),
    Stream(
        ipam.IPAM, ipam.EVENTS, "places and addresses",
        "Decisions: placements of nodes, blocks and addresses. Written by the IPAM consumer that leads.",
        "ipam", "run ipam", ("ipam.map.>", "ipam.address.*.>"), share=24,
    ),
    Stream(
        node.NODE, node.EVENTS, "reports of nodes",
        "Reports of agents and audits, and sandbox requests of the nodes' CNI servers.",
        share=16,
    ),
)  # fmt: skip

#: Their names.
ROLES = tuple(stream.name for stream in STREAMS)
#: Those that have a leader, which alone writes them.
LED = tuple(stream for stream in STREAMS if stream.writer)

#: By name.
STREAM = {stream.name: stream for stream in STREAMS}

#: All events: what the codec can decode.
STORED: tuple[type[Event], ...] = (LeaderElected, *(event for stream in STREAMS for event in stream.events))


def compactor(name: str) -> str:
    """The stream whose leader compacts the table of this one: itself, or IPAM where there is no leader."""
    return name if STREAM[name].writer else ipam.IPAM


def compacted_by(writes: str) -> tuple[str, ...]:
    """The streams whose tables the leader of the stream `writes` compacts."""
    return tuple(name for name in ROLES if compactor(name) == writes)


def roles_of(pattern: str) -> tuple[str, ...]:
    """The streams that a subject pattern can match, by its first token."""
    first = pattern.partition(".")[0]
    return tuple(stream.name for stream in STREAMS if first in (">", "*", stream.token))
