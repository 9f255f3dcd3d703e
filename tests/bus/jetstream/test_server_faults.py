"""Real servers that die, freeze, lose their disk or get an old one back: delay, never an event."""

from __future__ import annotations

import asyncio
import shutil
import time
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import Election, Outgoing, Position, Refused, Rewound, Store, Unavailable
from romana_bus.bus.jetstream import compaction
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.events import IPAM, KUBE
from tests.conftest import opener
from tests.contract.test_store import follow, out, pods, read_table, table_at
from tests.contract.test_writer import write
from tests.runtime.small_consumers import running
from tests.servers import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.bus.writing.write import FencedWriter


async def put_numbers(writer: FencedWriter, count: int) -> None:
    for number in range(count):
        await writer.put([out(f"kube.pod.web.p{number % 500}", f"{number}", f"id-{number}")])
        if number % 50 == 0:
            await asyncio.sleep(0.001)


async def stored(store: Store, count: int) -> list[str]:
    start = Position((await store.tail(KUBE)).epoch, 0, "")
    return [message.body.decode() for message in await follow(store, KUBE, start, count)]


async def until(condition: object, within: float = 20.0) -> None:
    deadline = time.monotonic() + within
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.005)


async def test_a_server_killed_and_restarted_loses_no_acknowledged_message(own_server: NatsServer) -> None:
    async with opener([own_server.url])() as store:
        reader = asyncio.ensure_future(stored(store, 20_000))
        writer = await write(store, 0, term=1)
        putting = asyncio.ensure_future(put_numbers(writer, 20_000))
        for mark in (3000, 9000, 15_000):
            await until(lambda mark=mark: writer.acknowledged > mark)
            own_server.kill()
            own_server.start()
        await putting
        assert await writer.flush() == 20_000
        assert await reader == [str(number) for number in range(20_000)]
        await writer.close()


async def test_a_frozen_server_costs_delay(own_server: NatsServer) -> None:
    """Trap 6: with data outstanding, nats-py alone would wait for a frozen peer for ever."""
    async with opener([own_server.url])() as store:
        reader = asyncio.ensure_future(stored(store, 5000))
        writer = await write(store, 0, term=1)
        putting = asyncio.ensure_future(put_numbers(writer, 5000))
        await until(lambda: writer.acknowledged > 1000)
        own_server.freeze()
        frozen_at = writer.acknowledged
        assert isinstance(store, JetStream)
        await until(lambda: not store.wire.is_connected or store.generation, within=30)
        own_server.thaw()
        await putting
        assert await writer.flush() == 5000
        assert frozen_at < 5000
        assert await reader == [str(number) for number in range(5000)]
        await writer.close()


async def test_slow_reader_loses_nothing(own_server: NatsServer) -> None:
    """Trap 4: a consumer of nats-py would have dropped what came meanwhile."""
    async with opener([own_server.url])() as store:
        wake = asyncio.Event()
        start = Position((await store.tail(KUBE)).epoch, 0, "")
        reading = store.follow(KUBE, ">", start, wake, "slow")
        writer = await write(store, 0, term=1)
        for number in range(0, 60_000, 1000):
            await writer.put(pods(*range(number, number + 1000)))
        await writer.flush()
        seen: list[int] = []
        while len(seen) < 60_000:
            await wake.wait()
            wake.clear()
            seen += [message.seq for message in reading.take()]
        assert seen == list(range(1, 60_001))
        await reading.close()
        await writer.close()


async def test_deleted_consumer_is_created_again(own_server: NatsServer) -> None:
    async with opener([own_server.url])() as store:
        assert isinstance(store, JetStream)
        stream = store.layout.stream(KUBE)
        reader = asyncio.ensure_future(stored(store, 200))
        await store.batch(KUBE, 0, pods(*range(100)))
        names: list[str] = []
        while not names:
            names = (await store.api(f"CONSUMER.NAMES.{stream}"))["consumers"] or []
        for name in names:
            await store.api(f"CONSUMER.DELETE.{stream}.{name}")
        await store.batch(KUBE, 100, pods(*range(100, 200)))
        assert await reader == [f"a{number}" for number in range(200)]


async def test_an_emptied_store_is_noticed_by_reader_and_writer(own_server: NatsServer) -> None:
    """Trap 1: sequence numbers start again, so a number alone would look valid."""
    opened = opener([own_server.url])
    async with opened() as store:
        writer = await write(store, 0, term=1)
        await writer.put(pods(*range(10)))
        await writer.flush()
        _, reached = await table_at(store, KUBE, 10)
        reading = asyncio.ensure_future(follow(store, KUBE, reached, 1))
        own_server.lose_store()
        own_server.start()
        async with opened() as other:  # somebody makes the streams anew, and writes past our place
            await other.batch(KUBE, 0, pods(*range(20), kind="new"))
        with pytest.raises(Rewound):
            await reading

        async def stored() -> None:
            """`put` raises too, if the writer has looked at the new log by then."""
            await writer.put(pods(11))
            await writer.flush()

        with pytest.raises(Rewound):
            await stored()
        await writer.close()


async def test_writer_stops_in_another_store_with_the_same_last_sequence(
    own_server: NatsServer,
) -> None:
    opened = opener([own_server.url])
    async with opened() as store:
        writer = await write(store, 0, term=1)
        await writer.put(pods(*range(10)))
        await writer.flush()
        own_server.lose_store()
        own_server.start()
        async with opened() as other:
            await other.batch(KUBE, 0, pods(*range(10), kind="new"))
        await until(lambda: store.generation == 1)

        async def go_on() -> None:
            await writer.put(pods(11))  # which may know it already
            await writer.flush()

        with pytest.raises(Rewound):
            await go_on()
        await writer.close()


async def test_restored_store_is_noticed(own_server: NatsServer, tmp_path: Path) -> None:
    opened = opener([own_server.url])
    async with opened() as store:
        await store.batch(KUBE, 0, pods(*range(10)))
        await table_at(store, KUBE, 10)
        own_server.stop()
        shutil.copytree(own_server.directory / "js", own_server.directory / "backup")
        own_server.start()
        await until(lambda: store.generation == 1)
        await store.batch(KUBE, 10, pods(*range(10, 20)))
        _, reached = await table_at(store, KUBE, 20)
        reading = asyncio.ensure_future(follow(store, KUBE, reached, 100))
        own_server.kill()
        # The backup goes on elsewhere first: the reader must not look before the others are there.
        shutil.copytree(own_server.directory / "backup", tmp_path / "elsewhere/js")
        with NatsServer(tmp_path / "elsewhere") as elsewhere:
            async with opener([elsewhere.url], cluster=store.cluster)() as other:
                await other.batch(KUBE, 10, pods(*range(50, 80), kind="other"))
        shutil.rmtree(own_server.directory / "js")
        shutil.copytree(tmp_path / "elsewhere/js", own_server.directory / "js")
        own_server.start()
        with pytest.raises(Rewound, match=r"other.*not 'a19'"):
            await reading


async def test_what_lives_stays_in_the_table_when_the_log_forgets_it(
    own_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "STAYS", 0.1)
    async with opener([own_server.url], history=2.0)() as store:
        gone = Outgoing("kube.pod.web.p1", b"gone", "gone-1", ttl=1)
        await store.batch(KUBE, 0, [*pods(1, 2), gone])
        messages, _ = await table_at(store, KUBE, 3)
        assert [message.body for message in messages] == [b"a2", b"gone"]
        async with running(store.compact(KUBE)):
            while [message.body for message in messages] != [b"a2"]:
                messages, reached = await read_table(store, KUBE)
                await asyncio.sleep(0.05)
        while (await store.tail(KUBE)).first <= 3:  # the log forgets a2 too, the table does not
            await asyncio.sleep(0.05)
        messages, reached = await read_table(store, KUBE)
        assert [message.body for message in messages] == [b"a2"]
        assert reached.seq == 3
        following = asyncio.ensure_future(follow(store, KUBE, reached, 1))
        await store.batch(KUBE, 3, pods(4))
        assert [message.body for message in await following] == [b"a4"]


async def test_a_message_that_is_too_large_is_refused_and_the_connection_lives(
    own_server: NatsServer,
) -> None:
    async with opener([own_server.url])() as store:
        large = out("kube.object.x", "x" * 1_100_000)
        with pytest.raises(Refused, match="max_payload"):
            await store.batch(KUBE, 0, [large])
        with pytest.raises(Refused, match="max_payload"):
            await store.publish(KUBE, large)
        assert await store.batch(KUBE, 0, pods(1)) == 1


async def test_the_server_dying_settles_every_publish_in_flight(own_server: NatsServer) -> None:
    """Trap 5: with nats-py's publish_async they would be pending for ever."""
    async with opener([own_server.url])() as store:
        own_server.freeze()
        flight = [asyncio.ensure_future(store.batch(IPAM, 0, [out("ipam.leader")])) for _ in range(20)]
        await asyncio.sleep(0)
        own_server.kill()
        done, pending = await asyncio.wait(flight, timeout=10)
        assert not pending
        assert {type(one.exception()).__name__ for one in done} == {"Unavailable"}


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_unsendable_message_is_reported_at_once(own_server: NatsServer, size: int) -> None:
    """Also of a few messages that go out singly: none of them is waited for."""
    async with opener([own_server.url])() as store:
        assert isinstance(store, JetStream)
        elected = await store.batch(IPAM, 0, [out("ipam.leader")])
        own_server.kill()
        await until(lambda: not store.wire.is_connected)
        messages = [out(f"ipam.map.host.n{number}") for number in range(size)]
        answer = asyncio.ensure_future(store.batch(IPAM, elected, messages, Election("ipam.leader", elected)))
        for _ in range(20):  # turns of the loop: no time has to pass
            await asyncio.sleep(0)
        assert answer.done()
        assert isinstance(answer.exception(), Unavailable)


async def test_a_dead_holders_lease_is_free_within_three_seconds(own_server: NatsServer) -> None:
    opened = opener([own_server.url])
    async with opened() as store, opened() as other:
        assert await store.lease("ipam", "dead").acquire()
        lease = other.lease("ipam", "next")
        async with asyncio.timeout(3):
            while not await lease.acquire():
                await asyncio.sleep(0.1)
