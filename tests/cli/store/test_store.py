"""`romana-bus store`: what the store holds, and its settings changed in place."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from romana_bus.bus.connect import open_store
from romana_bus.bus.store_size import LEAST, log_bytes
from romana_bus.bus.stream_config import Layout
from romana_bus.events import KUBE, ROLES
from tests.bus.jetstream.test_full_store import elected, put
from tests.cli.processes import until
from tests.cli.serve.test_endpoints import url_of
from tests.conftest import run
from tests.contract.test_store import table_at
from tests.identities import access_to, log_options
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from romana_bus.bus.jetstream.store import JetStream
    from tests.cli.conftest import Call
    from tests.cli.processes import Home

_clusters = itertools.count(1)


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return log_options(nats_server.url, f"store{next(_clusters)}")


def at(log: tuple[str, ...], do: Callable[[JetStream], Awaitable[Any]], budget: int = LEAST) -> None:
    async def opened() -> None:
        layout = Layout(log[3], budget=budget)
        async with await open_store(access_to(log[1]), layout, "test", ROLES) as store:
            await do(store)

    run(opened())


async def nothing(_: JetStream) -> None: ...


async def fill(store: JetStream) -> None:
    """Write KUBE beyond its limit."""
    writer = await elected(store)
    await put(writer, 0, 15_000)
    await table_at(store, KUBE, await writer.flush())
    await writer.close()


def test_show(log: tuple[str, ...], call: Call) -> None:
    at(log, nothing)
    shown = call("store", "show", *log)
    assert shown.code == 0
    assert "store: 512 MB" in shown.out
    assert "184 MB" in shown.out  # of KUBE
    document = call("store", "show", "--json", *log).json
    assert document["budget"] == LEAST
    limits = {stream["role"]: stream["limit"] for stream in document["streams"] if not stream["table"]}
    assert limits == {role: log_bytes(LEAST, role) for role in ROLES}
    assert document["alarms"] == []


def test_a_log_that_is_full_is_seen_everywhere(log: tuple[str, ...], call: Call, home: Home) -> None:
    at(log, fill, budget=12_000_000)
    for command in (("store", "show"), ("status",)):
        words = " ".join(call(*command, *log).out.split())
        assert "nearly full" in words
        assert "KUBE keeps" in words
        assert "instead of 7 d: it uses" in words
    with home.start("run", "ipam", "--listen", "127.0.0.1:0", *log) as ipam:
        url = url_of(ipam)
        until(lambda: read(url, "/readyz")[0] == 200, "it is ready")
        until(lambda: "warning: KUBE keeps" in read(url, "/readyz")[1], "it warns")
        assert read(url, "/readyz")[0] == 200
        used = 'romana_stream_used{stream="KUBE",what="log"}'
        [line] = [line for line in read(url, "/metrics")[1].splitlines() if line.startswith(used)]
        assert float(line.split()[1]) > 0.8


def read(url: str, path: str) -> tuple[int, str]:
    try:
        with urlopen(url.removesuffix("/metrics") + path) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_settings_are_changed_and_shown(log: tuple[str, ...], call: Call) -> None:
    at(log, nothing)
    changed = call("store", "set", "--size", "1GB", "--history", "3", *log)
    assert changed.code == 0, changed
    rows = [line.split() for line in changed.out.splitlines()]
    assert [f"ROMANA_{log[3]}_KUBE", "max_bytes", "184", "MB", "360", "MB"] in rows
    assert [f"ROMANA_{log[3]}_IPAM", "max_age", "7", "d", "3", "d"] in rows
    again = call("store", "set", *log)
    assert "nothing to change" in again.out
    assert call("store", "show", "--json", *log).json["budget"] == 1_000_000_000
    assert call("store", "set", "--json", "--history", "2", *log).json[0]["field"] == "max_age"


def test_a_log_without_a_limit_gets_one(log: tuple[str, ...], call: Call) -> None:
    at(log, nothing, budget=0)
    assert "no limit" in call("store", "show", *log).out
    changed = call("store", "set", "--size", "1GB", *log)
    assert changed.out.split("KUBE")[1].split()[1:5] == ["no", "limit", "360", "MB"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--size", "5MB"), "--size 5MB: the store needs at least 512 MB"),
        (("--size", "lots"), "--size lots: write bytes such as 20GB"),
        (("--size", "50%"), "the storage of this NATS server is not known"),
        (("--history", "0"), "--history 0.0: must be between a minute and ten years"),
        (("--replicas", "2"), "--replicas 2: must be 1, 3 or 5"),
        (("--replicas", "3"), "--replicas 3: this NATS server is not one of a cluster"),
    ],
)
def test_invalid_settings_change_nothing(
    log: tuple[str, ...], call: Call, arguments: tuple[str, ...], says: str
) -> None:
    at(log, nothing)
    result = call("store", "set", *arguments, *log)
    result.complains(2, says)
    assert call("store", "show", "--json", *log).json["budget"] == LEAST


def test_invalid_size_of_a_new_log(log: tuple[str, ...], call: Call) -> None:
    call("topology", "show", "--store-size", "1MB", *log).complains(
        2, "--store-size 1MB: the store needs at least 512 MB"
    )


def test_a_share_of_what_the_monitoring_port_says(tmp_path: Path, call: Call) -> None:
    port = free_port()
    settings = "sync_interval: always, max_file_store: 2000000000"
    with NatsServer(tmp_path, extra=f'http: "127.0.0.1:{port}"', jetstream=settings) as server:
        log = (*log_options(server.url, "share"), "--nats-monitor", f"http://127.0.0.1:{port}")
        call("ipam", "reserve", "10.0.0.0/28", "--store-size", "40%", *log)
        document = call("store", "show", "--json", *log).json
        assert document["budget"] == 800_000_000
        assert any("NATS server" in room["what"] for room in document["rooms"])
        call("store", "set", "--size", "3GB", *log).complains(2, "is more than NATS can store here, 2 GB")
        status = call("status", "--json", *log).json
        states = {row["setting"]: row["state"] for row in status["settings"]}
        assert states["jetstream.max_file_store"] == states["jetstream.sync_interval"] == "ok"
        assert "settings of the NATS server" in call("status", *log).out
