"""A follower that is slower than its log drops messages: a consumer just skips them, so it begins anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import Position, Rewound
from romana_bus.bus.jetstream import live, pull
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.events import IPAM
from tests.conftest import opener
from tests.contract.test_store import out

if TYPE_CHECKING:
    from romana_bus.bus.api import Reading
    from tests.servers import NatsServer


async def test_messages_that_were_dropped_unread_are_noticed(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("AHEAD", 10), ("ASK", 5), ("CHECK_EVERY", 0.02)):
        monkeypatch.setattr(pull, name, value)
    async with opener([nats_server.url])() as store:
        assert isinstance(store, JetStream)
        stream = store.layout.stream(IPAM)
        config = (await store.info(stream)).config
        await store.api(f"STREAM.UPDATE.{stream}", config | {"max_msgs": 20})
        tail, wake = await store.tail(IPAM), asyncio.Event()
        reading = store.follow(IPAM, ">", Position(tail.epoch, 0, ""), wake, "slow")
        for number in range(100):
            await store.publish(IPAM, out(f"ipam.map.host.n{number}"))
        with pytest.raises(Rewound, match="dropped messages behind"):
            await follow(reading, wake)
        await reading.close()


async def test_live_messages_that_were_lost_and_dropped_by_the_log_are_noticed(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the log still has behind them does not take their place."""
    monkeypatch.setattr(live, "LOOK", 0.02)
    monkeypatch.setattr(live.Live, "_sink", lambda *_: None)
    async with opener([nats_server.url], live=True)() as store:
        assert isinstance(store, JetStream)
        await store.publish(IPAM, out("ipam.map.host.n0"))
        tail, wake = await store.tail(IPAM), asyncio.Event()
        stream = store.layout.stream(IPAM)
        config = (await store.info(stream)).config
        await store.api(f"STREAM.UPDATE.{stream}", config | {"max_msgs": 2})
        reading = store.follow(IPAM, "ipam.map.>", Position(tail.epoch, 1, ""), wake, "slow")
        assert isinstance(reading, live.Live)
        while reading._held is not None:  # it reads what there is
            await asyncio.sleep(0.01)
        for number in range(5):
            await store.publish(IPAM, out(f"ipam.map.host.n{number}"))
        reading._verify_at = 0.0
        with pytest.raises(Rewound, match="starts at 5 now: messages after 1 are gone"):
            await follow(reading, wake)
        assert reading.position.seq == 1, "none of those that are left was taken"
        await reading.close()


async def follow(reading: Reading, wake: asyncio.Event) -> None:
    while True:
        reading.take()
        await wake.wait()
        wake.clear()
