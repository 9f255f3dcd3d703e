"""Logs at their limit, and a NATS server without room: what goes, what stays, and what goes on."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import Election, Outgoing, Position, Rewound, Unavailable, WrongSequence
from romana_bus.bus.auth.permissions import UP
from romana_bus.bus.connect import open_store
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.store_size import LEAST, Size, log_bytes
from romana_bus.bus.stream_config import Layout
from romana_bus.bus.writing import write as writing
from romana_bus.errors import Failed
from romana_bus.events import KUBE, SPEC
from tests.bus.jetstream.test_server_faults import until
from tests.conftest import in_memory, opener
from tests.contract.test_store import follow, out, table_at
from tests.contract.test_writer import write
from tests.identities import ADMINISTRATOR, access_to
from tests.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from romana_bus.bus.api import Store
    from romana_bus.bus.auth.permissions import Identity
    from romana_bus.bus.writing.write import FencedWriter

#: A budget that no user can have: 4.3 MB for KUBE, 480 kB for SPEC. A batch has up to 650 kB.
SMALL = 12_000_000
BODY = "x" * 300


@contextlib.asynccontextmanager
async def small(server: NatsServer, budget: int = SMALL, who: Identity = UP) -> AsyncIterator[JetStream]:
    async with opener([server.url], budget=budget)(who) as store:
        assert isinstance(store, JetStream)
        yield store


async def put(writer: FencedWriter, first: int, count: int, entities: int = 50) -> None:
    for number in range(first, first + count):
        await writer.put([out(f"kube.pod.web.p{number % entities}", f"{number} {BODY}")])


async def elected(store: Store) -> FencedWriter:
    writer = await write(store, 0, term=1)
    await writer.elect(out("kube.leader", "{}"))
    return writer


# --- a log at its limit -----------------------------------------------------------------------------------


async def test_a_log_at_its_limit_drops_the_oldest_and_takes_more(nats_server: NatsServer) -> None:
    async with small(nats_server) as store:
        writer = await elected(store)
        await put(writer, 0, 9000)
        last = await writer.flush()
        await writer.close()
        info = await store.info(store.layout.stream(KUBE))
        assert info.config["max_bytes"] == log_bytes(SMALL, KUBE)
        tail = await store.tail(KUBE)
        assert 1 < tail.first < tail.last == last
        rows, _ = await table_at(store, KUBE, last)
        newest = {row.subject: row.body.split()[0] for row in rows if row.subject != "kube.leader"}
        assert sorted(map(int, newest.values())) == list(range(8950, 9000))


async def test_a_table_has_every_row_that_its_full_log_has_dropped(nats_server: NatsServer) -> None:
    """The table reads some thousand messages a second, the writer stores ten times as many."""
    async with small(nats_server) as store:
        writer = await elected(store)
        await put(writer, 0, 10_000, entities=10_000)
        last = await writer.flush()
        await writer.close()
        assert (await store.tail(KUBE)).first > 1000  # the others are only in the table
        rows, _ = await table_at(store, KUBE, last)
        assert len(rows) == 10_001


async def test_a_table_that_stands_still_holds_the_writer_up(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer that went on would have the log drop what the table never read."""
    monkeypatch.setattr(writing, "ANSWER_WITHIN", 0.5)
    async with small(nats_server) as store:

        async def stuck(role: str) -> int:
            return 0

        follows, store.table_end = store.table_end, stuck  # type: ignore[method-assign]
        writer = await elected(store)
        putting = asyncio.ensure_future(put(writer, 0, 9000))
        await until(lambda: writer.problem)
        assert "its table does not read what was written" in writer.problem
        tail = await store.tail(KUBE)
        assert tail.first == 1
        store.table_end = follows  # type: ignore[method-assign]
        await putting
        assert await writer.flush() > 9000
        assert writer.problem == ""
        await writer.close()


async def test_a_follower_that_is_too_far_behind_is_told(nats_server: NatsServer) -> None:
    async with small(nats_server) as store:
        epoch = (await store.tail(KUBE)).epoch
        writer = await elected(store)
        await put(writer, 0, 9000)
        last = await writer.flush()
        await writer.close()
        with pytest.raises(Rewound, match="are gone"):
            await follow(store, KUBE, Position(epoch, 1, ""), 1)
        _, reached = await table_at(store, KUBE, last)  # what it does then
        assert await follow(store, KUBE, reached, 0) == []


@pytest.mark.parametrize("what", ["memory", "nats"])
async def test_a_leader_whose_election_was_dropped_is_elected_again(
    what: str, nats_server: NatsServer
) -> None:
    """Every message names the election; a full log drops it long before half of the history has passed."""
    opened = in_memory() if what == "memory" else opener([nats_server.url], budget=SMALL)
    async with opened() as store:
        writer = await elected(store)
        for round in range(3):
            await put(writer, round * 7500, 7500)
            last = await writer.flush()
            if what == "memory":
                store.forget(KUBE, last)  # type: ignore[attr-defined]
        await writer.close()
        rows, _ = await table_at(store, KUBE, last)
        leader = next(row for row in rows if row.subject == "kube.leader")
        assert leader.seq > 1
        assert leader.id.endswith(f"/{leader.seq}")
        numbers = sorted(int(row.body.split()[0]) for row in rows if row is not leader)
        assert numbers == list(range(22_450, 22_500))
        assert all(row.id.endswith(f"/{row.seq}") for row in rows)


async def test_no_message_is_stored_twice_when_the_election_was_dropped(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the log drops it, and little else."""
    async with small(nats_server) as store:
        tail = await store.tail(KUBE)
        writer = await elected(store)
        await put(writer, 0, 10)
        await writer.flush()
        get, gone = store.get, {1}
        batch = store.batch

        def refused(role: str, expected: int, messages: Any, election: Election | None = None) -> Any:
            return batch(
                role,
                expected,
                messages,
                election._replace(seq=99) if election and election.seq in gone else election,
            )

        monkeypatch.setattr(store, "batch", refused)
        monkeypatch.setattr(store, "get", lambda role, seq: get(role, 10**9 if seq in gone else seq))
        await put(writer, 10, 3000)
        last = await writer.flush()
        await writer.close()
        read = await follow(store, KUBE, Position(tail.epoch, 0, ""), last)
        assert [m.seq for m in read if m.subject == "kube.leader"] == [1, 12]
        assert [int(m.body.split()[0]) for m in read if m.subject != "kube.leader"] == list(range(3010))


@pytest.mark.parametrize("what", ["memory", "nats"])
async def test_compare_and_set_where_the_log_has_dropped_the_newest(
    what: str, nats_server: NatsServer
) -> None:
    opened = in_memory() if what == "memory" else opener([nats_server.url], budget=SMALL)
    async with opened() as store:
        first = await store.publish(SPEC, out("spec.topology", "one"), expected=0)
        await _drop(store, what)
        second = await store.publish(SPEC, out("spec.topology", "two"), expected=first)
        await _drop(store, what)
        with pytest.raises(WrongSequence):  # the log knows of none of them, the table does
            await store.publish(SPEC, out("spec.topology", "three"), expected=first)
        newest = await store.newest(SPEC, "spec.topology")
        assert newest is not None
        assert (newest.seq, newest.body) == (second, b"two")
        await store.publish(SPEC, out("spec.topology", "three"), expected=second)


async def _drop(store: Store, what: str) -> None:
    """Let the log lose all that it has now."""
    last = (await store.tail(SPEC)).last
    number = 0
    while what == "nats" and (await store.tail(SPEC)).first <= last:
        number += 1
        await store.publish(SPEC, out(f"spec.reserve.r{number}", "x" * 50_000))
        await table_at(store, SPEC, (await store.tail(SPEC)).last)
    if what == "memory":
        await store.publish(SPEC, out("spec.reserve.r", "x"))
        store.forget(SPEC, (await store.tail(SPEC)).last)  # type: ignore[attr-defined]


# --- a server without room ----------------------------------------------------------------------------------


async def test_a_log_that_does_not_fit_is_refused_with_the_setting(tmp_path: Path) -> None:
    with NatsServer(tmp_path, jetstream="sync_interval: always, max_file_store: 100MB") as server:
        with pytest.raises(Failed, match=r"no room for stream ROMANA_default_KUBE.*max_file_store") as caught:
            await open_store(access_to(server.url), Layout(size=Size(LEAST)), "test", [KUBE])
        assert "\n" not in str(caught.value)
        assert "--store-size SIZE" in str(caught.value)


async def test_copies_that_there_are_no_servers_for(nats_server: NatsServer) -> None:
    with pytest.raises(Failed, match="replicas > 1 not supported"):
        await open_store(access_to(nats_server.url), Layout("copies", replicas=3), "test", [KUBE])


async def test_a_server_without_room_costs_delay(tmp_path: Path) -> None:
    """Another stream fills it. The writer keeps its queue, says why, and goes on when there is room; so does
    the table."""
    with NatsServer(tmp_path, jetstream="sync_interval: always, max_file_store: 16MB") as server:
        async with small(server, who=ADMINISTRATOR) as store:
            writer = await elected(store)
            await put(writer, 0, 200)
            before = await writer.flush()
            await _fill(store)
            await put(writer, 200, 1000)
            await until(lambda: writer.problem)
            assert "insufficient resources" in writer.problem
            assert "max_file_store" in writer.problem
            assert not writer.failed.is_set()
            await store.api("STREAM.DELETE.FILLER")
            last = await writer.flush()
            assert last >= before + 1000
            rows, _ = await table_at(store, KUBE, last)
            numbers = sorted(int(row.body.split()[0]) for row in rows if row.subject != "kube.leader")
            assert numbers == list(range(1150, 1200))
            await writer.close()


async def _fill(store: JetStream) -> None:
    await store.api("STREAM.CREATE.FILLER", {"name": "FILLER", "subjects": ["filler"], "storage": "file"})
    filler = Outgoing("filler", b"x" * 100_000)
    store.layout, kept = store.layout._replace(cluster="x"), store.layout
    try:
        size = 100_000
        while size:
            try:
                await store.api("STREAM.INFO.FILLER")
                await _publish(store, "filler", filler.body[:size])
            except Unavailable:
                size //= 10
    finally:
        store.layout = kept


async def _publish(store: JetStream, subject: str, body: bytes) -> None:
    from romana_bus.bus.jetstream.fastlane import raw_message
    from romana_bus.bus.jetstream.requests import acknowledged

    reply, answer = store.expect(lambda headers, answered: acknowledged("FILLER", headers, answered))
    store.send(raw_message(subject, body, reply), answer)
    await answer
