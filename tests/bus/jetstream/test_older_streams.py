"""Streams that an older version has created, and servers that allow few consumers."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from romana_bus.bus import stream_config
from romana_bus.bus.api import Position
from romana_bus.bus.jetstream import upgrade
from romana_bus.bus.jetstream.live import Live
from romana_bus.bus.jetstream.pull import Pull
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.events import IPAM, ROLES
from tests.conftest import opener
from tests.contract.test_store import out, table_at
from tests.servers import NatsServer

if TYPE_CHECKING:
    from pathlib import Path

_clusters = itertools.count(1)


async def old_log(url: str, monkeypatch: pytest.MonkeyPatch, **layout: Any) -> str:
    """The cluster of a log with two messages whose streams lack what later versions have."""
    cluster = f"old{next(_clusters)}"
    with monkeypatch.context() as patch:
        for name in ("log_config", "table_config"):
            plain = getattr(stream_config, name)

            def older(*given: Any, plain: Any = plain) -> dict[str, Any]:
                config = plain(*given)
                return {field: config[field] for field in config if field not in stream_config._IN_PLACE}

            patch.setattr(stream_config, name, older)
        async with opener([url], cluster=cluster, **layout)() as store:
            for number in (1, 2):
                await store.publish(IPAM, out(f"ipam.map.host.n{number}"))
    return cluster


async def settings(store: JetStream) -> tuple[bool, bool]:
    log = (await store.info(store.layout.stream(IPAM))).config
    table = (await store.info(store.layout.table(IPAM))).config
    return bool(log.get("republish")), bool(table.get("allow_direct"))


@pytest.mark.parametrize("copies", [1, pytest.param(3, marks=pytest.mark.cluster)])
async def test_older_streams_are_updated_in_place(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, copies: int
) -> None:
    url = (
        request.getfixturevalue("nats_server").url
        if copies == 1
        else request.getfixturevalue("nats_cluster").urls[0]
    )
    cluster = await old_log(url, monkeypatch, replicas=copies)
    async with opener([url], cluster=cluster, replicas=copies)() as writing:
        assert isinstance(writing, JetStream)
        await upgrade.apply(writing, writing.layout, ROLES)
        assert await settings(writing) == (True, True)
        async with opener([url], live=True, cluster=cluster)() as store:
            messages, reached = await table_at(store, IPAM, 2)
            wake = asyncio.Event()
            reading = store.follow(IPAM, ">", reached, wake, "agent")
            assert isinstance(reading, Live)
            await writing.publish(IPAM, out("ipam.map.host.n3"))
            while not (taken := reading.take()):
                await wake.wait()
                wake.clear()
            await reading.close()
            assert [message.seq for message in (*messages, *taken)] == [1, 2, 3]


async def test_older_streams_that_may_not_be_changed_are_read_with_consumers(
    nats_server: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = await old_log(nats_server.url, monkeypatch)
    with structlog.testing.capture_logs() as said:
        async with opener([nats_server.url], live=True, cluster=cluster)() as store:
            assert isinstance(store, JetStream)
            assert await settings(store) == (False, False)
            messages, reached = await table_at(store, IPAM, 2)
            reading = store.follow(IPAM, ">", reached, asyncio.Event(), "agent")
            assert isinstance(reading, Pull)
            await reading.close()
    assert len(messages) == 2
    assert any("an operator should run" in one["event"] for one in said)


async def test_agents_need_no_consumer_and_others_learn_which_setting_to_change(tmp_path: Path) -> None:
    limited = "sync_interval: always, limits: { default_max_consumers: 2 }"
    with NatsServer(tmp_path / "nats", jetstream=limited) as server:
        cluster = "few"
        async with opener([server.url], cluster=cluster)() as store:
            tail, wake = await store.tail(IPAM), asyncio.Event()
            start = Position(tail.epoch, 0, "")
            with structlog.testing.capture_logs() as said:
                readings = [store.follow(IPAM, ">", start, wake, f"reader{n}") for n in range(3)]
                while not any("default_max_consumers" in str(one.get("why")) for one in said):
                    await asyncio.sleep(0.01)
            async with opener([server.url], live=True, cluster=cluster)() as agents:
                live = [agents.follow(IPAM, "ipam.map.>", start, asyncio.Event(), f"a{n}") for n in range(20)]
                await store.publish(IPAM, out("ipam.map.host.n1"))
                for reading in live:
                    while not reading.take():
                        await asyncio.sleep(0.01)
                    await reading.close()
            for reading in readings[:2]:
                await reading.close()
            while not readings[2].take():  # there is room for it now
                await asyncio.sleep(0.01)
            await readings[2].close()
