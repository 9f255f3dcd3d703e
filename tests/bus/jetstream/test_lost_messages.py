"""What gets lost in silence: a question, what a reader waits for, the log behind a server that answers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from romana_bus.bus.api import Position, Unavailable
from romana_bus.bus.auth.permissions import READ
from romana_bus.bus.jetstream import probe as probe_module
from romana_bus.bus.jetstream import pull, requests
from romana_bus.bus.jetstream.info import StreamInfo
from romana_bus.bus.jetstream.probe import Probe
from romana_bus.bus.jetstream.pull import Pull
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.events import KUBE, NODE
from tests.conftest import opener
from tests.contract.test_store import follow, pods, table_at
from tests.identities import ADMINISTRATOR, administrator

if TYPE_CHECKING:
    from tests.servers import NatsServer


async def test_unanswered_request_is_repeated(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of a stream that had no leader: what was asked meanwhile nobody answers later. What changes
    something is sent once."""
    monkeypatch.setattr(requests, "REPEAT", 0.02)

    async with opener([nats_server.url])() as store:
        assert isinstance(store, JetStream)
        plain, sent, lost = store.wire.send, list[bytes](), 3

        def send(frames: bytes) -> None:
            sent.append(frames)
            if len(sent) > lost:
                plain(frames)

        monkeypatch.setattr(store.wire, "send", send)
        assert (await store.tail(KUBE)).last == 0
        assert len(sent) > lost
        sent.clear()
        with pytest.raises(Unavailable, match="time is up"):
            await store.api(f"STREAM.PURGE.{store.layout.stream(KUBE)}", timeout=0.1)
        assert sum(b"STREAM.PURGE" in frames for frames in sent) == 1  # beside the probe's


async def test_silent_reader_makes_a_new_consumer(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of its consumer was lost, and no error is sent."""
    for name, seconds in (("HEARTBEAT", 0.2), ("SILENT", 0.4), ("CHECK_EVERY", 0.05)):
        monkeypatch.setattr(pull, name, seconds)

    async with opener([nats_server.url])() as store:
        assert isinstance(store, JetStream)
        wake, tail = asyncio.Event(), await store.tail(KUBE)
        reading = store.follow(KUBE, ">", Position(tail.epoch, 0, ""), wake, "test")
        found: list[int] = []
        for turn in range(3):
            await store.batch(KUBE, turn, pods(turn))
            while len(found) <= turn:
                await wake.wait()
                wake.clear()
                found += [message.seq for message in reading.take()]
            assert isinstance(reading, Pull)
            store.wire.sinks[reading._sid] = lambda *_: None
        assert found == [1, 2, 3]
        await reading.close()


HEARD, SILENT, UNKNOWN = (
    {"current": True, "active": 10**9},
    {"current": True, "active": 4 * 10**9},
    {"active": 0},
)


@pytest.mark.parametrize(
    ("cluster", "why"),
    [
        (None, ""),  # one server
        ({"leader": "n0"}, ""),  # one copy
        ({"leader": "n0", "replicas": [HEARD, HEARD]}, ""),
        ({"leader": "n0", "replicas": [HEARD, UNKNOWN]}, ""),  # one of three is away
        ({"leader": "n0", "replicas": [{"active": 10**9}, SILENT]}, ""),  # the other one catches up
        ({"leader": "n0", "replicas": [SILENT, SILENT]}, "its leader does not hear the others"),
        (
            {"leader": "n0", "replicas": [HEARD, SILENT, SILENT, SILENT]},
            "its leader does not hear the others",
        ),
        ({"replicas": [HEARD, UNKNOWN, UNKNOWN]}, "the stream has no leader"),
    ],
)
def test_stream_info_counts_only_with_a_majority_of_replicas(
    cluster: dict[str, Any] | None, why: str
) -> None:
    found = msgspec.convert({"config": {}, "state": {}, "cluster": cluster}, StreamInfo)
    assert (found.cluster.lost if found.cluster else "") == why


class Log:
    """As a probe sees it. `here`, `there`: that it answers through our server, and through the other one."""

    connected, last_error = True, ""

    def __init__(self) -> None:
        self.wire = self
        self.here, self.there = asyncio.Event(), asyncio.Event()
        self.moved: list[str] = []
        self.asked = asyncio.Event()  # the other server is

    async def ask_tails(self) -> None:
        if not self.asked.is_set():
            raise Unavailable("no leader")
        await self.here.wait()

    async def elsewhere(self, url: str) -> None:
        assert url == "nats://other:4222"
        self.asked.set()
        await self.there.wait()

    def others(self) -> list[str]:
        return ["nats://other:4222"]

    def move(self, place: str) -> None:
        self.moved.append(place)


async def answered_elsewhere(monkeypatch: pytest.MonkeyPatch) -> tuple[Log, Probe]:
    """A log that has just answered through another server, and what probes it."""
    probing(monkeypatch)

    log = Log()
    probe = Probe(log, log.elsewhere)  # type: ignore[arg-type]
    await log.asked.wait()
    log.there.set()
    return log, probe


async def test_client_moves_to_a_server_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    log, probe = await answered_elsewhere(monkeypatch)
    while log.moved != ["other:4222"]:
        await asyncio.sleep(0.001)
    assert probe.problem().startswith("the log has not answered for ")
    await probe.close()


async def test_client_stays_where_the_log_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that has a leader again is as good here as there."""
    log, probe = await answered_elsewhere(monkeypatch)
    await asyncio.sleep(0)
    log.here.set()
    while probe.problem():
        await asyncio.sleep(0.001)
    await probe.close()
    assert log.moved == []


def probing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon, and with as much patience as a slow machine needs."""
    for name, seconds in (("EVERY", 0.01), ("GOOD_FOR", 0.1), ("ELSEWHERE_WITHIN", 20.0), ("LATER", 0.5)):
        monkeypatch.setattr(probe_module, name, seconds)


async def test_a_message_without_a_body_does_not_stop_a_reader(nats_server: NatsServer) -> None:
    """A reader's account imports the log, and nats-server ends an answer there with such a message."""
    opened = opener([nats_server.url])
    async with opened(ADMINISTRATOR) as store, opened(READ) as reader:
        assert isinstance(store, JetStream)
        client = await administrator(nats_server.url)
        for number in range(30):
            subject = f"{store.layout.prefix}node.n{number}.routes"
            await client.jetstream().publish(subject, b"" if number % 10 == 5 else b"{}")
        await client.close()
        rows, reached = await table_at(reader, NODE, 30)
        assert len(rows) == 30
        beginning = reached._replace(seq=0, id="")
        assert len(await follow(reader, NODE, beginning, 30)) == 30
