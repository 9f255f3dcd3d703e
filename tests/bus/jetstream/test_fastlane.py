"""The fast lane past nats-py: every message reaches its reader, however the bytes are cut."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from romana_bus.bus.api import Unavailable
from romana_bus.bus.jetstream.fastlane import Wire, raw_message
from tests.identities import ADMINISTRATOR, administrator, login

if TYPE_CHECKING:
    from tests.servers import NatsServer


class Recorded(Wire):
    """A wire that was never connected: it is fed bytes, and what nats-py would be told is noted."""

    def __init__(self) -> None:
        super().__init__()
        self.slow: list[tuple[bytes, bytes]] = []
        self.pings = 0
        self.fast: list[tuple[bytes, bytes, bytes, bytes]] = []
        self.sinks[b"7"] = lambda *message: self.fast.append(message)

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: Any) -> None:
        if sid == 7:
            await super()._process_msg(sid, subject, reply, data, headers)
        else:
            self.slow.append((subject, data))

    async def _process_ping(self) -> None:
        self.pings += 1


def frame(sid: int, number: int, body: bytes, headed: bool, replied: bool) -> bytes:
    reply = b"r.%d " % number if replied else b""
    if not headed:
        return b"MSG s.%d %d %s%d\r\n%s\r\n" % (number, sid, reply, len(body), body)
    head = b"NATS/1.0\r\nA: %d\r\n\r\n" % number
    return b"HMSG s.%d %d %s%d %d\r\n%s%s\r\n" % (
        number, sid, reply, len(head), len(head) + len(body), head, body
    )  # fmt: skip


messages = st.lists(
    st.tuples(
        st.sampled_from([7, 7, 7, 8]),
        st.sampled_from([b"", b"{}", b"HMSG s 7 3\r\n", b"\r\n\r\n", b"x" * 70, b"PING\r\n"]),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=12,
)


@given(messages, st.lists(st.integers(1, 60), min_size=1, max_size=30))
def test_messages_arrive_whole_and_in_order_however_the_stream_is_cut(
    plan: list[tuple[int, bytes, bool, bool, bool]], cuts: list[int]
) -> None:
    stream, fast, slow, pings = b"", [], [], 0
    for number, (sid, body, headed, replied, ping) in enumerate(plan):
        stream += frame(sid, number, body, headed, replied)
        subject, reply = b"s.%d" % number, b"r.%d" % number if replied else b""
        if sid == 7:
            fast.append((subject, reply, b"NATS/1.0\r\nA: %d\r\n\r\n" % number if headed else b"", body))
        else:
            slow.append((subject, body))
        if ping:
            stream += b"PING\r\n"
            pings += 1

    async def scenario() -> None:
        wire = Recorded()
        at, turn = 0, 0
        while at < len(stream):
            size = cuts[turn % len(cuts)]
            await wire._ps.parse(stream[at : at + size])
            at, turn = at + size, turn + 1
        assert (wire.fast, wire.slow, wire.pings) == (fast, slow, pings)

    asyncio.run(scenario())


def test_a_sink_that_fails_does_not_end_the_connection() -> None:
    async def scenario() -> None:
        wire = Recorded()
        wire.sinks[b"7"] = lambda *_: 1 / 0  # type: ignore[assignment]
        await wire._ps.parse(frame(7, 1, b"x", True, True) + frame(8, 2, b"y", False, False))
        assert wire.slow == [(b"s.2", b"y")]

    asyncio.run(scenario())


async def test_raw_publishes_interoperate_with_plain_nats_py(nats_server: NatsServer) -> None:
    wire, plain = Wire(), await administrator(nats_server.url)
    await wire.dial([nats_server.url], **login(ADMINISTRATOR))
    got: asyncio.Queue[tuple[bytes, bytes, bytes, bytes]] = asyncio.Queue()
    await wire.listen("to.wire", lambda *message: got.put_nowait(message))
    await wire.flush()
    subscription = await plain.subscribe("to.plain")
    await plain.flush()  # nats-py writes this PING past a SUB that is still queued,
    await plain.flush()  # so only the second one says that the subscription stands
    wire.send(
        raw_message("to.plain", b"one") + raw_message("to.plain", b"two", "r", b"NATS/1.0\r\nA: b\r\n\r\n")
    )
    first, second = await subscription.next_msg(5), await subscription.next_msg(5)
    assert (first.data, first.headers) == (b"one", None)
    assert (second.data, second.reply, second.headers) == (b"two", "r", {"A": "b"})
    await plain.publish("to.wire", b"three", headers={"A": "c"})
    assert await got.get() == (b"to.wire", b"", b"NATS/1.0\r\nA: c\r\n\r\n", b"three")
    await wire.close()
    await plain.close()


@pytest.mark.within(20)
async def send_for_ever(wire: Wire) -> None:
    while True:
        wire.send(raw_message("t.raw", b"x"))
        await asyncio.sleep(0)


async def test_connection_closed_before_nats_py_notices(nats_server: NatsServer) -> None:
    wire = Wire()
    await wire.dial([nats_server.url], **login(ADMINISTRATOR))
    try:
        wire._transport._io_writer.transport.abort()  # type: ignore[union-attr]
        with pytest.raises(Unavailable, match="not connected to NATS"):
            await send_for_ever(wire)
    finally:
        await wire.close()


async def test_silent_server_leaves_no_connection_behind(own_server: NatsServer) -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        ended.set()
        writer.close()

    wire = Wire()
    await wire.dial([own_server.url], **login(ADMINISTRATOR))
    own_server.stop()
    async with await asyncio.start_server(silent, "127.0.0.1", own_server.port):
        await ended.wait()
        await wire.close()


async def test_closed_connection_stays_closed_if_a_cancellation_is_lost(
    own_server: NatsServer,
) -> None:
    """`asyncio.wait_for`, which nats-py waits with, may swallow it (CPython 3.11)."""
    wire = Wire()
    await wire.dial([own_server.url], **login(ADMINISTRATOR))
    own_server.kill()
    while not wire._tried:  # it has begun to reconnect
        await asyncio.sleep(0.01)
    reconnecting, wire._reconnection_task = wire._reconnection_task, None
    assert reconnecting is not None
    await wire.close()
    await reconnecting
