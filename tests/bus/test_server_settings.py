"""The table of the NATS server's settings: what is wrong with a server, and what to set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.connect import open_store
from romana_bus.bus.jetstream.usage import configs
from romana_bus.bus.space import monitor
from romana_bus.bus.space.server_settings import SETTINGS, Facts, verdicts
from romana_bus.bus.store_size import Size
from romana_bus.bus.stream_config import Layout
from romana_bus.events import KUBE, ROLES
from tests.identities import access_to
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from pathlib import Path

LINE = {"version": "2.15.1", "max_payload": 1 << 20}
ACCOUNT = {"api": {"level": 5}, "storage": 0, "limits": {"max_storage": -1}}
VARZ: dict[str, Any] = {
    "max_connections": 65536, "max_control_line": 4096, "write_deadline": 10_000_000_000,
    "max_pending": 64 << 20,
    "jetstream": {
        "config": {"max_storage": 10**11, "sync_always": True}, "limits": {"default_max_consumers": 50_000},
    },
}  # fmt: skip
STREAMS = tuple(
    {"name": f"ROMANA_c_{role}", "max_bytes": 10**9, "num_replicas": 1} for role in ROLES
)  # fmt: skip
GOOD = Facts(LINE, ACCOUNT, VARZ, STREAMS, nodes=5000)


def jetstream(**parts: Any) -> dict[str, Any]:
    return VARZ | {"jetstream": VARZ["jetstream"] | parts}


def wrong(facts: Facts) -> dict[str, str]:
    return {verdict.setting.name: verdict.text for verdict in verdicts(facts) if verdict.text}


def test_a_server_as_it_should_be() -> None:
    assert wrong(GOOD) == {}


@pytest.mark.parametrize(
    ("changes", "name", "says"),
    [
        ({"account": {"api": {"level": 1}}}, "nats-server", "too old"),
        ({"varz": jetstream(config={"max_storage": 10**11})},
         "jetstream.sync_interval", "sync_interval: always"),
        ({"line": LINE | {"max_payload": 1000}}, "max_payload", "max_payload: 1MB"),
        ({"varz": VARZ | {"max_control_line": 1024}}, "max_control_line", "set `max_control_line: 4096`"),
        ({"varz": jetstream(limits={"default_max_consumers": 1000})},
         "jetstream.limits.default_max_consumers", "5,000 nodes may need 10,100"),
        ({"varz": jetstream(config={"max_storage": 10**9, "sync_always": True})},
         "jetstream.max_file_store", "may store 1 GB, and the logs and tables may need 5 GB"),
        ({"account": ACCOUNT | {"limits": {"max_storage": 10**9}}},
         "jetstream.max_file_store", "may store 1 GB"),
        ({"varz": VARZ | {"max_connections": 1000}}, "max_connections", "5,000 nodes need 5,100"),
        ({"varz": VARZ | {"write_deadline": 10**9}}, "write_deadline", 'write_deadline: "10s"'),
        ({"varz": VARZ | {"max_pending": 1 << 20}}, "max_pending", "max_pending: 64MB"),
        ({"line": LINE | {"cluster": "c"}}, "cluster", "romana-bus store set --replicas 3"),
    ],
)  # fmt: skip
def test_each_setting_that_is_wrong(changes: dict[str, Any], name: str, says: str) -> None:
    [(found, text)] = wrong(GOOD._replace(**changes)).items()
    assert found == name
    assert says in text


def test_what_only_the_monitoring_port_says() -> None:
    states = {verdict.setting.name: verdict.state for verdict in verdicts(GOOD._replace(varz=None))}
    unseen = {name for name, state in states.items() if state == "not checkable without --nats-monitor"}
    assert {"jetstream.sync_interval", "max_connections"} <= unseen
    assert states["max_payload"] == states["cluster"] == "ok"


def test_answers_of_another_shape_are_not_checkable() -> None:
    for varz in ({}, {"jetstream": None}, {"jetstream": {"config": None, "limits": None}}):
        names = wrong(GOOD._replace(varz=varz)).keys()
        assert names <= {"jetstream.sync_interval"}


async def test_a_real_server(tmp_path: Path) -> None:
    """The fields have these names, and the defaults are as the table says."""
    port = free_port()
    with NatsServer(tmp_path, extra=f'http: "127.0.0.1:{port}"') as server:
        url = f"http://127.0.0.1:{port}"
        access = access_to(server.url, monitor=url)
        async with await open_store(access, Layout(budget=10**9), "test", ROLES) as store:
            varz = await monitor.varz(url)
            facts = Facts(store.wire.info, await store.api("INFO"), varz, await configs(store, ROLES), 5000)
            assert set(wrong(facts)) == {"jetstream.limits.default_max_consumers"}
            checkable = [verdict.setting.name for verdict in verdicts(facts) if verdict.text is not None]
            assert checkable == [setting.name for setting in SETTINGS[:-1]]


async def test_the_monitoring_port_is_asked_once_at_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the size of a new log depends on it."""
    asked, port = [], free_port()
    plain = monitor.varz

    async def varz(url: str) -> dict[str, Any]:
        asked.append(url)
        return await plain(url)

    monkeypatch.setattr(monitor, "varz", varz)
    extra = f'http: "127.0.0.1:{port}"'
    with NatsServer(tmp_path, extra=extra) as server:
        url = f"http://127.0.0.1:{port}"
        layout = Layout(size=Size())
        async with await open_store(access_to(server.url, monitor=url), layout, "test", [KUBE]) as at:
            assert at.layout.budget > 0
    assert asked == [url]


async def test_a_setting_that_is_not_fatal_is_a_warning(tmp_path: Path) -> None:
    from structlog.testing import capture_logs

    port = free_port()
    with NatsServer(tmp_path, extra=f'http: "127.0.0.1:{port}"\nmax_connections: 50') as server:
        access = access_to(server.url, monitor=f"http://127.0.0.1:{port}")
        with capture_logs() as said:
            async with await open_store(access, Layout(), "test", [KUBE]):
                pass
    assert [line["setting"] for line in said if "setting" in line] == ["max_connections"]
