"""Compaction: a table holds what lives and fresh tombstones, and nothing that was deleted comes back."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from romana_bus.bus import stream_config
from romana_bus.bus.api import Outgoing, Position, Refused, Rewound, Store, Unavailable
from romana_bus.bus.auth.permissions import READ
from romana_bus.bus.jetstream import compaction, messages
from romana_bus.bus.jetstream.compaction import Compaction, Rows
from romana_bus.bus.jetstream.requests import until_answered
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.events import IPAM, KUBE, NODE, SPEC, PodGone, RangeUnreserved
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.loop import run_decider
from tests.conftest import opener
from tests.contract.test_store import follow, pods, read_table, table_at
from tests.identities import ADMINISTRATOR
from tests.runtime.small_consumers import NUMBERS, running
from tests.servers import NatsCluster

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import NatsServer

COUNT = 300


def gone(*numbers: int, ttl: int = 1) -> list[Outgoing]:
    return [Outgoing(f"kube.pod.web.p{number}", b"gone", f"g{number}", ttl=ttl) for number in numbers]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "EVERY", 0.02)
    monkeypatch.setattr(compaction, "STAYS", 0.1)


async def rows(store: Store, role: str = KUBE) -> list[tuple[int, bytes]]:
    """All that the table has, replaced messages too."""
    return [(m.seq, m.body) async for batch in store.table(role) for m in batch]


async def until_rows(store: Store, *wanted: tuple[int, bytes], role: str = KUBE) -> None:
    while await rows(store, role) != [*wanted]:
        await asyncio.sleep(0.02)


async def noted(store: Store) -> Rows:
    """What compaction knows of the table now."""
    known = Rows()
    async for batch in store.table(KUBE):
        for message in batch:
            known.note(message)
    return known


async def live_and_die(store: Store) -> list[tuple[int, bytes]]:
    """COUNT pods are seen twice, and all but the last are gone; returns the row that stays."""
    for kind, at in (("a", 0), ("b", COUNT)):
        await store.batch(KUBE, at, pods(*range(COUNT), kind=kind))
    end = await store.batch(KUBE, 2 * COUNT, gone(*range(COUNT - 1)))
    await table_at(store, KUBE, end)
    return [(2 * COUNT, f"b{COUNT - 1}".encode())]


# --- what leaves, and when --------------------------------------------------------------------------------


@pytest.mark.usefixtures("hasty")
async def test_replaced_messages_and_tombstones_leave_the_table_and_the_log_keeps_them(
    nats_server: NatsServer,
) -> None:
    async with opener([nats_server.url])() as store:
        left = await live_and_die(store)
        async with running(store.compact(KUBE)):
            await until_rows(store, *left)
            _, reached = await read_table(store, KUBE)
            assert reached.seq == 2 * COUNT, "whoever goes on from here reads the tombstones on the log"
            await store.batch(KUBE, 3 * COUNT - 1, pods(0, kind="again"))
            await until_rows(store, *left, (3 * COUNT, b"again0"))
        assert (await store.tail(KUBE))[1:] == (1, 3 * COUNT)
        every = await follow(store, KUBE, Position(reached.epoch, 0, ""), 3 * COUNT)
        assert len(every) == 3 * COUNT
        later = await follow(store, KUBE, reached, COUNT)
        assert [message.seq for message in later] == list(range(2 * COUNT + 1, 3 * COUNT + 1))
        newest = await store.newest(KUBE, "kube.pod.web.p5")
        assert newest
        assert newest.body == b"gone"


@pytest.mark.usefixtures("hasty")
async def test_what_somebody_else_has_deleted_ends_nothing(nats_server: NatsServer) -> None:
    """Another leader, or this one, whose answers were lost with the connection."""
    async with opener([nats_server.url])() as store:
        assert isinstance(store, JetStream)
        left, table = await live_and_die(store), store.layout.table(KUBE)
        compacts = Compaction(store, KUBE)
        rows_then = await noted(store)
        read = (await read_table(store, KUBE))[1]
        for seq in (1, 2, 5):
            await store.api(f"STREAM.MSG.DELETE.{table}", {"seq": seq, "no_erase": True})
        while await rows(store) != left:
            await compacts._delete(rows_then, read)


@pytest.mark.usefixtures("hasty")
async def test_a_tombstone_stays_while_its_time_has_not_passed(nats_server: NatsServer) -> None:
    async with opener([nats_server.url])() as store:
        now = store.clock.now()
        fact = PodGone(resource_version="1", uid="u", namespace="web", name="p")
        assert outgoing(fact, "", now, store.history).ttl == 3600
        assert outgoing(RangeUnreserved(cidr="10.0.0.0/30"), "", now, store.history).ttl == store.history
        await store.batch(KUBE, 0, [*pods(1, 2), outgoing(fact, "", now, store.history), *gone(1)])
        async with running(store.compact(KUBE)):
            await until_rows(store, (2, b"a2"), (3, (await _body(store, 3))))


async def _body(store: Store, seq: int) -> bytes:
    message = await store.get(KUBE, seq)
    assert message
    return message.body


@pytest.mark.usefixtures("hasty")
async def test_streams_that_many_write_are_compacted_too(nats_server: NatsServer) -> None:
    async with opener([nats_server.url])(ADMINISTRATOR) as store:
        for text in ("one", "two", "three"):
            await store.publish(NODE, Outgoing("node.n1.routes", text.encode()))
            await store.publish(SPEC, Outgoing("spec.topology", text.encode()))
        async with running(store.compact(NODE), store.compact(SPEC)):
            await until_rows(store, (3, b"three"), role=NODE)
            await until_rows(store, (3, b"three"), role=SPEC)


@pytest.mark.usefixtures("hasty")
async def test_whoever_leads_compacts_and_the_next_one_goes_on(nats_server: NatsServer) -> None:
    opened = opener([nats_server.url])
    async with opened() as store, opened() as other:
        for holder, leads, text in (("a", store, "one"), ("b", other, "two")):
            async with running(run_decider(leads, NUMBERS, holder)):
                for version in ("1", "2"):
                    end = await store.publish(SPEC, Outgoing("spec.topology", (text + version).encode()))
                await until_rows(store, (end, f"{text}2".encode()), role=SPEC)


@pytest.mark.usefixtures("hasty")
async def test_a_refusal_is_told_and_the_table_is_compacted_once_it_is_allowed(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = opener([nats_server.url])
    async with opened() as store, opened(READ) as reader:
        await store.batch(KUBE, 0, pods(1, 2))
        await store.batch(KUBE, 2, pods(1, kind="b"))
        await table_at(store, KUBE, 3)
        with capture_logs() as said:
            async with running(reader.compact(KUBE)):
                while not any(line["event"] == "a table is not compacted, and grows" for line in said):
                    await asyncio.sleep(0.02)
        assert len(await rows(store)) == 3
        monkeypatch.setattr(compaction, "REFUSED", 0.01)
        assert isinstance(store, JetStream)
        api, refusals = store.api, iter([Refused("no")])

        async def refused_at_first(verb: str, *given: Any, **named: Any) -> dict[str, Any]:
            if verb.startswith("STREAM.MSG.DELETE") and (refusal := next(refusals, None)):
                raise refusal
            return await api(verb, *given, **named)

        monkeypatch.setattr(store, "api", refused_at_first)
        async with running(store.compact(KUBE)):
            await until_rows(store, (2, b"a2"), (3, b"b1"))


# --- what comes back --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("index", ["kept", "lost"])
async def test_a_killed_server_brings_nothing_back(own_server: NatsServer, index: str) -> None:
    """Traps of nats-server: what a limit or a time to live has removed comes back without `index.db`, or if
    the server is killed within minutes."""
    async with opener([own_server.url])() as store:
        left = await live_and_die(store)
        async with running(store.compact(KUBE)):
            await until_rows(store, *left)
        own_server.kill()
        if index == "lost":
            for file in own_server.directory.rglob("index.db"):
                file.unlink()
        own_server.start()
        while not store.generation:
            await asyncio.sleep(0.02)
        assert await until_answered(lambda: store.table_end(KUBE)) == 3 * COUNT - 1
        assert await rows(store) == left


@pytest.mark.usefixtures("hasty")
async def test_a_server_killed_in_the_middle_brings_nothing_back(own_server: NatsServer) -> None:
    async with opener([own_server.url])() as store:
        left = await live_and_die(store)
        async with running(store.compact(KUBE)):
            for _ in range(3):
                before, generation = len(await rows(store)), store.generation
                while len(await rows(store)) > max(1, before - COUNT // 2):
                    await asyncio.sleep(0.005)
                own_server.kill()
                own_server.start()
                while store.generation == generation:
                    await asyncio.sleep(0.02)
                newest, _ = await read_table(store, KUBE)
                living = [message.seq for message in newest if message.body != b"gone"]
                assert living == [2 * COUNT], "no dead pod lives"
            await until_rows(store, *left)


@pytest.mark.cluster
@pytest.mark.within(110)
@pytest.mark.usefixtures("hasty")
async def test_a_cluster_whose_servers_are_killed_brings_nothing_back(tmp_path: Path) -> None:
    with NatsCluster(tmp_path) as cluster:
        async with opener(cluster.urls, replicas=3)() as store:
            assert isinstance(store, JetStream)
            left = await live_and_die(store)
            async with running(store.compact(KUBE)):
                while len(await rows(store)) > 2 * COUNT:
                    await asyncio.sleep(0.01)
                leads = (await store.api(f"STREAM.INFO.{store.layout.table(KUBE)}"))["cluster"]["leader"]
                cluster.named(leads).kill()
                cluster.named(leads).start()
                while await until_answered(lambda: rows(store)) != left:
                    await asyncio.sleep(0.1)
            for server in cluster.servers:
                server.kill()
            for server in cluster.servers:
                server.start()
            assert await until_answered(lambda: store.table_end(KUBE)) == 3 * COUNT - 1
            assert await until_answered(lambda: rows(store)) == left


# --- who reads meanwhile ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("live", [False, True])
async def test_a_boot_during_compaction_ends_with_what_lives(nats_server: NatsServer, live: bool) -> None:
    """Pods come and go while tables are read, and the log from there on."""
    cluster = f"boots{live}"
    async with (
        opener([nats_server.url], cluster=cluster)() as store,
        opener([nats_server.url], cluster=cluster, live=live)() as reader,
    ):

        async def churn() -> None:
            for number in range(0, 6000, 100):
                living = range(number, number + 100)
                end = await store.batch(IPAM, (await store.tail(IPAM)).last, _hosts(*living))
                await store.batch(IPAM, end, _hosts(*living[:-1], ttl=1))

        async with running(store.compact(IPAM)):
            churning = asyncio.ensure_future(churn())
            while not churning.done():
                assert await _boot(reader, (await store.tail(IPAM)).last) >= set()
            end = (await store.tail(IPAM)).last
            assert await _boot(reader, end) == {f"ipam.map.host.n{number}" for number in range(99, 6000, 100)}


def _hosts(*numbers: int, ttl: int = 0) -> list[Outgoing]:
    body = b"gone" if ttl else b"there"
    return [Outgoing(f"ipam.map.host.n{number}", body, ttl=ttl) for number in numbers]


async def _boot(store: Store, end: int) -> set[str]:
    """The living by table and log, up to `end`."""
    newest, reached = await read_table(store, IPAM)
    later = await follow(store, IPAM, reached, 1) if reached.seq < end else []
    while later and later[-1].seq < end:
        later += await follow(store, IPAM, Position(reached.epoch, later[-1].seq, later[-1].id), 1)
    last = {message.subject: message.body for message in (*newest, *later)}
    return {subject for subject, body in last.items() if body == b"there"}


@pytest.mark.parametrize("live", [False, True])
async def test_a_pass_that_takes_too_long_is_not_used(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    """A reader that was frozen may have read a pod, and missed the tombstone that has left meanwhile."""
    async with opener([nats_server.url], live=live)() as store:
        await store.publish(IPAM, Outgoing("ipam.map.host.n1", b"there"))
        monkeypatch.setattr(messages, "PASS_WITHIN", -1)
        with pytest.raises(Unavailable, match="reading the table of IPAM took 0 s: it is read again"):
            await read_table(store, IPAM)


# --- which table ------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hasty")
async def test_a_table_of_an_older_version_is_used_and_left_alone(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the server has replaced there would come back."""
    plain = stream_config.table_config
    opened = opener([nats_server.url])
    with monkeypatch.context() as patch:
        patch.setattr(
            stream_config, "table_config", lambda *given: plain(*given) | stream_config._OLDER_TABLE
        )
        async with opened():
            pass
    with capture_logs() as said:
        async with opened() as store:
            await store.batch(KUBE, 0, [*pods(1, 2), *gone(1)])
            await table_at(store, KUBE, 3)
            await store.compact(KUBE)
            assert await rows(store) == [(2, b"a2"), (3, b"gone")]
    assert [line["event"] for line in said if "older version" in line["event"]] == [
        "a table of an older version keeps tombstones"
    ]


@pytest.mark.usefixtures("hasty")
async def test_nothing_is_deleted_from_a_store_that_has_gone_back(own_server: NatsServer) -> None:
    """Its sequences are other messages' by then."""
    async with opener([own_server.url])() as store:
        assert isinstance(store, JetStream)
        await store.batch(KUBE, 0, pods(1))
        await table_at(store, KUBE, 1)
        own_server.stop()
        shutil.copytree(own_server.directory / "js", own_server.directory / "backup")
        own_server.start()
        while store.generation < 1:
            await asyncio.sleep(0.02)
        await store.batch(KUBE, 1, [*gone(1), *pods(2)])
        await table_at(store, KUBE, 3)
        stuck = Compaction(store, KUBE)
        rows_then = await noted(store)
        read = (await read_table(store, KUBE))[1]
        own_server.stop()
        shutil.rmtree(own_server.directory / "js")
        shutil.move(own_server.directory / "backup", own_server.directory / "js")
        own_server.start()
        while store.generation < 2:
            await asyncio.sleep(0.02)
        await store.batch(KUBE, 1, pods(7, 8, 9, kind="other"))
        await table_at(store, KUBE, 4)
        with pytest.raises(Rewound):
            await stuck._delete(rows_then, read)
        assert [seq for seq, _ in await rows(store)] == [1, 2, 3, 4]


@pytest.mark.usefixtures("hasty")
async def test_nothing_is_deleted_where_others_have_written_since_the_store_went_back(
    own_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agents may be faster than the leader to connect again, and their messages have no ids."""
    async with opener([own_server.url])(ADMINISTRATOR) as store:
        assert isinstance(store, JetStream)
        await store.publish(NODE, Outgoing("node.n1.routes", b"one"))
        own_server.stop()
        shutil.copytree(own_server.directory / "js", own_server.directory / "backup")
        own_server.start()
        await until_answered(lambda: store.publish(NODE, Outgoing("node.n2.routes", b"two")))
        await table_at(store, NODE, 2)
        monkeypatch.setattr(compaction, "EVERY", 60.0)
        compacts = Compaction(store, NODE)
        async with running(compacts.run()):
            while not compacts._newest:
                await asyncio.sleep(0.02)
        own_server.stop()
        shutil.rmtree(own_server.directory / "js")
        shutil.move(own_server.directory / "backup", own_server.directory / "js")
        own_server.start()
        for node in "345":
            out = Outgoing(f"node.n{node}.routes", b"other")
            await until_answered(lambda out=out: store.publish(NODE, out))  # type: ignore[misc]
        await table_at(store, NODE, 4)
        with pytest.raises(Rewound, match="NODE/2 is not the message that was read"):
            await compacts._check(Position((await store.tail(NODE)).epoch, 2, ""))
