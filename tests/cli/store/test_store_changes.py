"""Changes of a store that has messages: nothing is deleted unless an operator asks for it, and a change that
the server has no room for leaves everything as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from romana_bus.bus.api import BusError
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.jetstream import upgrade
from romana_bus.bus.store_size import LEAST, log_bytes, parse_size
from romana_bus.bus.stream_config import Layout
from romana_bus.errors import BadInput
from romana_bus.events import KUBE, ROLES, SPEC
from tests.conftest import run
from tests.contract.test_store import out, table_at
from tests.identities import access_to, log_options
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from romana_bus.bus.jetstream.store import JetStream
    from tests.cli.conftest import Call

#: Bytes of what the tests store on SPEC: more than its part of the least budget.
BODY, COUNT = 700_000, 40
DAY = 86_400.0
#: The options' values of a server with 3 GB: 2 GB fit, and of 5 GB only the first streams do.
ROOM, FITS, TOO_LARGE = "sync_interval: always, max_file_store: 3GB", "2GB", "5GB"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("small"), jetstream=ROOM) as server:
        yield server


async def fill(store: JetStream) -> None:
    for number in range(COUNT):
        await store.publish(SPEC, out(f"spec.reserve.r{number % 2}", "x" * BODY))
    await table_at(store, SPEC, COUNT)


async def settings(store: JetStream) -> dict[str, Any]:
    return {
        role: [
            (await store.info(store.layout.stream(role))).config[field] for field in ("max_bytes", "max_age")
        ]
        for role in ROLES
    }


async def test_a_start_deletes_nothing_of_an_older_log(tmp_path: Path) -> None:
    """The embedded server is brought up to date by itself, but for a limit that would cut the history."""
    access = Access(state=tmp_path / "state")
    async with await open_store(access, Layout(), "older version", ROLES) as store:
        await fill(store)
    with capture_logs() as said:
        async with await open_store(access, Layout(size=parse_size("512MB")), "this version", ROLES) as store:
            assert (await store.tail(SPEC))[1:] == (1, COUNT)
            assert (await settings(store))[SPEC][0] == -1
            assert (await settings(store))[KUBE][0] == log_bytes(LEAST, KUBE)
    [warning] = [line for line in said if line["log_level"] == "warning"]
    assert warning["stream"] == "ROMANA_default_SPEC"
    assert "romana-bus store set --size" in warning["event"]


async def test_a_change_without_room_changes_nothing(small: NatsServer) -> None:
    layout = Layout("grows", size=parse_size(FITS))
    async with await open_store(access_to(small.url), layout, "test", ROLES) as store:
        await fill(store)
        before = await settings(store)
        larger = store.layout._replace(budget=parse_size(TOO_LARGE).bytes, history=DAY)
        with pytest.raises(BusError, match="max_file_store"):
            await upgrade.apply(store, larger, ROLES)
        assert await settings(store) == before
        assert (await store.tail(SPEC))[1:] == (1, COUNT)
        await upgrade.apply(store, store.layout._replace(budget=0, history=DAY), ROLES)
        assert await settings(store) == {role: [before[role][0], int(DAY * 1e9)] for role in ROLES}
        await _remove(store)


async def test_a_log_that_exists_is_opened_whatever_size_a_new_one_would_need(tmp_path: Path) -> None:
    """Others may have filled the disk meanwhile."""
    access = Access(state=tmp_path / "state")
    more = Layout(size=parse_size("900000TB"))
    with pytest.raises(BadInput, match="more than NATS can store here"):
        await open_store(access, more, "test", ROLES)
    async with await open_store(access, Layout(size=parse_size("1GB")), "test", ROLES) as store:
        before = await settings(store)
    async with await open_store(access, more, "test", ROLES) as store:
        assert await settings(store) == before


def test_a_log_that_was_made_halfway_is_completed(small: NatsServer, call: Call) -> None:
    log = log_options(small.url, "halfway")
    reserve = ("ipam", "reserve", "100.64.0.0/30")
    call(*reserve, "--store-size", "10GB", *log).complains(1, "no room for stream ROMANA_halfway_KUBE")
    done = call("store", "set", "--size", FITS, *log)
    assert done.code == 0, done
    limits = {one["role"]: one["limit"] for one in shown(call, log) if not one["table"]}
    assert limits == {role: log_bytes(parse_size(FITS).bytes, role) for role in ROLES}
    assert call(*reserve, *log).code == 0
    removed(log)


def test_set_without_a_size_deletes_nothing(tmp_path: Path, call: Call) -> None:
    """A log without a limit that holds more than its part of the default size; then one with odd limits."""
    port = free_port()
    monitored = f'http: "127.0.0.1:{port}"'
    with NatsServer(
        tmp_path, extra=monitored, jetstream="sync_interval: always, max_file_store: 1GB"
    ) as server:
        log = (*log_options(server.url, "old"), "--nats-monitor", f"http://127.0.0.1:{port}")
        run(filled(log))
        call("store", "set", *log).complains(2, "the logs hold more than their parts of 5", "give --size 7")
        assert next(one["messages"] for one in shown(call, log)) == COUNT
        odd = LEAST + 200_000_001
        assert call("store", "set", "--size", str(odd), *log).code == 0
        limits = [one["limit"] for one in shown(call, log)]
        assert "nothing to change" in call("store", "set", *log).out
        assert {row["field"] for row in call("store", "set", "--history", "2", "--json", *log).json} == {
            "max_age"
        }
        assert [one["limit"] for one in shown(call, log)] == limits


def shown(call: Call, log: tuple[str, ...]) -> list[dict[str, Any]]:
    streams: list[dict[str, Any]] = call("store", "show", "--json", *log).json["streams"]
    return streams


async def filled(log: tuple[str, ...]) -> None:
    async with await open_store(access_to(log[1]), Layout(log[3]), "test", ROLES) as store:
        await fill(store)


def removed(log: tuple[str, ...]) -> None:
    async def remove() -> None:
        async with await open_store(access_to(log[1]), Layout(log[3]), "test", ROLES) as store:
            await _remove(store)

    run(remove())


async def _remove(store: JetStream) -> None:
    """Give the room back that the limits reserve."""
    for role in ROLES:
        for stream in (store.layout.table(role), store.layout.stream(role)):
            await store.api(f"STREAM.DELETE.{stream}")
