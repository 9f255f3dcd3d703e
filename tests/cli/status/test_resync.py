"""`romana-bus resync`: lists a resource again; an operator may confirm that missing objects are gone."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.api import ApiThread
from tests.cli.logs import begun
from tests.cli.processes import until
from tests.identities import log_options
from tests.lab.faults import Fault
from tests.servers import free_port

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

_clusters = itertools.count(1)
PODS = [f"p{number:02}" for number in range(24)]


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return log_options(nats_server.url, f"resync{next(_clusters)}")


def pods(call: Call, log: tuple[str, ...]) -> Any:
    """How `status` shows them; nothing before they are listed."""
    shown = call("status", "--json", *log)
    found = shown.json["resources"] if shown.code == 0 else []
    return next((one for one in found if one["resource"] == "pods" and one["synced"]), None)


def test_confirmed_resync_removes_missing_objects_at_once(
    log: tuple[str, ...], home: Home, call: Call
) -> None:
    def lose_all() -> None:
        api.server.faults.append(Fault("watch", "pods", below=1 << 60, expired=True))
        api.server.close_watches("pods")

    with ApiThread() as api:
        api.node("n1", "a", "192.0.2.1")
        for name in PODS:
            api.pod(name, "n1")
        with home.start("watch", "--server", api.server.url, "--audit-every", "0", *log) as watching:
            until(lambda: (shown := pods(call, log)) and shown["count"] == 24, "all are listed")
            api.do(lose_all)
            for name in PODS:
                api.no_pod(name)
            until(lambda: (shown := pods(call, log)) and shown["doubted"] == 24, "all are doubted")
            result = call("status", *log)
            assert "24 doubted" in result.out
            assert "`romana-bus resync pods --believe` accepts it at once" in " ".join(result.out.split())

            asked = call("resync", "pods", *log)
            assert (asked.code, asked.err) == (0, "")
            assert asked.out == "ordered: pods are listed again\n"
            until(lambda: "an operator asked for it" in call_log(call, log), "another listing")
            assert "PodGone" not in call_log(call, log), "one more listing is no proof"

            asked = call("resync", "pods", "--believe", "--json", *log)
            assert (asked.code, asked.json["resource"], asked.json["believe"]) == (0, "pods", True)
            until(lambda: (shown := pods(call, log)) and shown["count"] == 0, "they are gone")
            assert call_log(call, log).count("PodGone") == 24
            assert pods(call, log)["doubted"] == 0
            assert watching.stop().code == 0


def call_log(call: Call, log: tuple[str, ...]) -> str:
    return call("events", "tail", "--no-follow", "--all", *log).out


@pytest.mark.parametrize("name", ["podz", "", "core/v1/pods", "\x1b[2J", "p" * 1000])
def test_resource_without_a_watcher(name: str, recorded: tuple[str, ...], call: Call) -> None:
    call("resync", name, *recorded).complains(
        2, "the log has no such resource: name one of namespaces, networkpolicies, nodes, pods"
    )


def test_log_without_a_listing(nats_server: NatsServer, call: Call) -> None:
    options = begun(nats_server.url, f"resync{next(_clusters)}")
    call("resync", "pods", *options).complains(
        2, "pods: the log has no such resource: start `romana-bus watch`"
    )


def test_resync_without_a_running_watcher(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("romana_bus.bus.connect.CONNECT_WITHIN", 0.5)
    url = f"nats://127.0.0.1:{free_port()}"
    call("resync", "pods", "--nats", url).complains(1, f"cannot reach NATS at {url}: ", "Connection refused")
    call("resync", "--nats", url).complains(2, "RESOURCE requires an argument")
