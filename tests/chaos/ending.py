"""What is left when a day is over: waited for, and read in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.bus.reading.tail import tail
from romana_bus.events import IPAM, KUBE, ROLES, Event, Fact, codec
from romana_bus.lab.kubeapi.store import watch_line
from romana_bus.lab.recordings.player import final
from romana_bus.producers.kubernetes.objects import BUILT_IN

if TYPE_CHECKING:
    from romana_bus.bus.api import Message
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.lab.recordings.player import Recording


class Stored(NamedTuple):
    seq: int
    event: Event
    id: str
    time: int

    @classmethod
    def of(cls, message: Message) -> Stored:
        event = codec.decode(message.body)
        assert not isinstance(event, codec.Parked), event.reason
        assert event.subject() == message.subject
        return cls(message.seq, event, message.id, message.time)


class Ending(NamedTuple):
    """By role: the epoch, the whole log, and the table by subject."""

    epochs: dict[str, str]
    logs: dict[str, list[Stored]]
    tables: dict[str, dict[str, Stored]]

    def facts(self) -> dict[str, Fact]:
        """The newest of each entity at the API server, tombstones included."""
        table = self.tables[KUBE]
        return {s: stored.event for s, stored in table.items() if isinstance(stored.event, Fact)}

    def newest(self, kind: type[Event]) -> dict[str, Event]:
        return {s: one.event for s, one in self.tables[IPAM].items() if isinstance(one.event, kind)}


async def read(store: JetStream) -> Ending:
    epochs, logs, tables = {}, {}, {}
    for role in ROLES:
        messages = []
        async for batch in tail(store, [role], last=None, follow=False):
            messages += [Stored.of(message) for _, message in batch]
        logs[role] = sorted(messages, key=lambda stored: stored.seq)
        rows = [Stored.of(message) async for batch in store.table(role) for message in batch]
        tables[role] = {row.event.subject(): row for row in rows}
        epochs[role] = (await store.tail(role)).epoch
    return Ending(epochs, logs, tables)


def recorded_facts(recording: Recording) -> dict[str, Fact]:
    """What the API server has at the end of the day, as the watcher would tell it, by subject."""
    ended, facts = final(recording), {}
    for kind in BUILT_IN:
        [resource] = [one for one in ended if one.plural == kind.plural]
        for raw in ended[resource].values():
            fact = kind.seen(kind.events.decode(watch_line("ADDED", raw)).object, 0)
            facts[fact.subject()] = fact
    return facts


def without_version(fact: Fact) -> bytes:
    """All that consumers use of it."""
    body = codec.encode(fact)
    return body[body.index(b',"uid":') :]
