"""Streams of an older version, with messages in them: used as they are, and brought up to date in place."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from romana_bus.bus import stream_config
from romana_bus.bus.api import Refused
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.jetstream import upgrade
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.store_size import LEAST, log_bytes
from romana_bus.bus.stream_config import Layout
from romana_bus.events import KUBE, ROLES
from tests.conftest import delete_streams, opener, run
from tests.contract.test_store import pods, table_at
from tests.contract.test_writer import elected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from tests.servers import NatsServer

#: Fields that streams of the first version do not have.
NEW = ("republish", "allow_direct")
COUNT = 500


@pytest.fixture(params=["nats", pytest.param("cluster", marks=pytest.mark.cluster)])
def servers(request: pytest.FixtureRequest) -> Iterator[tuple[list[str], int]]:
    """URLs, and how many copies there are."""
    if request.param == "nats":
        yield [request.getfixturevalue("nats_server").url], 1
        return
    urls = request.getfixturevalue("nats_cluster").urls
    yield urls, 3
    run(delete_streams(urls))


@contextlib.asynccontextmanager
async def old(servers: tuple[list[str], int]) -> AsyncIterator[JetStream]:
    """A log as the first version made it, with messages; its table has them too."""
    urls, replicas = servers
    async with opener(urls, replicas=replicas, budget=LEAST)() as store:
        assert isinstance(store, JetStream)
        await store.batch(KUBE, 0, pods(*range(COUNT)))
        await table_at(store, KUBE, COUNT)
        for wanted in both(store):
            await _set(store, wanted["name"], {"max_bytes": -1, "republish": None, "allow_direct": False})
        yield store


async def _set(store: JetStream, stream: str, fields: dict[str, Any]) -> None:
    config = (await store.info(stream)).config | fields
    if "mirror" in config:
        config.pop("mirror_direct", None)
        config.pop("republish", None)
    await store.api(f"STREAM.UPDATE.{stream}", {k: v for k, v in config.items() if v is not None})


def both(store: JetStream) -> list[dict[str, Any]]:
    return [
        stream_config.log_config(store.layout, KUBE, ""),
        stream_config.table_config(store.layout, KUBE, ""),
    ]


async def lacking(store: JetStream) -> set[str]:
    """The fields in which the streams of KUBE are older than this version."""
    return {
        field
        for wanted in both(store)
        for field in stream_config.outdated(wanted, (await store.info(wanted["name"])).config)
    }


async def test_older_streams_are_used_with_a_warning_and_brought_up_to_date(
    servers: tuple[list[str], int],
) -> None:
    async with old(servers) as store:
        assert await lacking(store) == {*NEW, "max_bytes"}
        with capture_logs() as said:
            await store.prepare([KUBE])
        warnings = [line for line in said if line["log_level"] == "warning"]
        assert [line["fields"] for line in warnings] == ["max_bytes, republish", "allow_direct"]
        assert all("romana-bus store set" in line["event"] for line in warnings)
        assert await store.batch(KUBE, COUNT, pods(COUNT)) == COUNT + 1

        changes = await upgrade.apply(store, store.layout, ROLES)
        assert {change.field for change in changes} == {*NEW, "max_bytes"}
        assert await lacking(store) == set()
        assert await upgrade.apply(store, store.layout, ROLES) == []

        heard: list[bytes] = []
        await store.hear("live.kube.>", lambda _, body: heard.append(body))
        assert await store.batch(KUBE, COUNT + 1, pods(COUNT + 1)) == COUNT + 2
        rows, _ = await table_at(store, KUBE, COUNT + 2)
        assert len(rows) == COUNT + 2
        assert (await store.tail(KUBE)).first == 1
        await store.api("INFO")
        assert heard == [f"a{COUNT + 1}".encode()]


async def test_settings_are_changed_in_place(servers: tuple[list[str], int]) -> None:
    urls, replicas = servers
    async with opener(urls, replicas=replicas, budget=2 * LEAST)() as store:
        assert isinstance(store, JetStream)
        await store.batch(KUBE, 0, pods(*range(COUNT)))
        await table_at(store, KUBE, COUNT)
        wanted = store.layout._replace(budget=LEAST, history=3600.0, replicas=1)
        changes = await upgrade.apply(store, wanted, ROLES)
        fields = {"max_bytes", "max_age"} | ({"num_replicas"} if replicas > 1 else set())
        assert {change.field for change in changes} == fields
        for role in ROLES:
            config = (await store.info(store.layout.stream(role))).config
            assert (config["max_bytes"], config["max_age"]) == (log_bytes(LEAST, role), 3600 * 10**9)
        table = (await store.info(store.layout.table(KUBE))).config
        assert (table["max_bytes"], table["max_age"], table["num_replicas"]) == (-1, 0, 1)
        rows, _ = await table_at(store, KUBE, COUNT)
        assert len(rows) == COUNT
        if replicas > 1:
            await upgrade.apply(store, wanted._replace(replicas=3), ROLES)
            assert (await store.info(store.layout.lease)).config["num_replicas"] == 3
            writer = await elected(store, 1)
            await writer.put(pods(COUNT))
            assert await writer.flush() == COUNT + 2
            await writer.close()


async def test_a_log_is_not_made_smaller_while_its_table_is_behind(nats_server: NatsServer) -> None:
    """What the log drops, the table would never read."""
    async with opener([nats_server.url], budget=2 * LEAST)() as store:
        assert isinstance(store, JetStream)
        for start in range(0, 20_000, 1000):
            await store.batch(KUBE, start, pods(*range(start, start + 1000)))
        with pytest.raises(Refused, match=r"the table of KUBE has not read .* try again"):
            await upgrade.apply(store, store.layout._replace(budget=LEAST), ROLES)
        config = (await store.info(store.layout.stream(ROLES[0]))).config
        assert config["max_bytes"] == log_bytes(2 * LEAST, ROLES[0])


async def test_the_embedded_server_is_brought_up_to_date_at_start(tmp_path: Path) -> None:
    """It is the user's own."""
    access, layout = Access(state=tmp_path / "state"), Layout(budget=LEAST)
    async with await open_store(access, layout, "test", [KUBE]) as store:
        await store.batch(KUBE, 0, pods(*range(COUNT)))
        for wanted in both(store):
            await _set(store, wanted["name"], {"max_bytes": -1, "republish": None, "allow_direct": False})
        assert await lacking(store) == {*NEW, "max_bytes"}
        async with await open_store(access, layout, "looks", [KUBE], looking=True):
            assert await lacking(store) == {*NEW, "max_bytes"}
        async with await open_store(access, layout, "test", [KUBE]):
            assert await lacking(store) == set()
        assert (await store.tail(KUBE))[1:] == (1, COUNT)
