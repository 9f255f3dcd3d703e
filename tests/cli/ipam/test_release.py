"""`romana-bus ipam release`: what a node that is gone for good still holds, is given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cli.logs import ago, begun, stored
from tests.cli.processes import until
from tests.ipam.cluster import topology
from tests.servers import free_port

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.ipam.cluster import Cluster
    from tests.servers import NatsServer


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command does not wait for the decider."""
    monkeypatch.setattr("romana_bus.cli.ipam.orders.CARRIED_OUT_WITHIN", 0.0)


def cluster() -> Cluster:
    """`gone` has gone, with two pods that the API still shows on it and one that only its kubelet knows."""
    c = ago(60, topology("10.0.0.0/24", 28))
    for name in ("gone", "here", "empty"):
        c.node(name)
    c.pod("web/a", "gone")
    c.pod("web/b", "gone")
    c.pod("web/c", "here")
    c.sandbox("kube-system/proxy", "gone")
    c.decide()
    c.no_node("gone")
    c.no_node("empty")
    c.decide()
    return c


def owners(call: Call, options: tuple[str, ...]) -> set[str]:
    """Of addresses on `gone`."""
    shown = call("ipam", "show", "--host", "gone", "--json", *options)
    pods = shown.json["pods"] if shown.code == 0 else []
    return {f"{one['namespace']}/{one['name']}" for one in pods if one["addresses"]}


def test_pods_of_a_deleted_node_keep_their_addresses_until_released(
    nats_server: NatsServer, home: Home, call: Call
) -> None:
    options = stored(nats_server, cluster())
    with home.start("run", "ipam", *options) as running:
        running.until_logged("leading")
        before = owners(call, options)
        assert before == {"web/a", "web/b", "kube-system/proxy"}
        result = call("ipam", "release", "gone", *options)
        assert (result.code, result.err) == (0, "")
        assert sorted(result.lines) == [
            "released: 10.0.0.0 of kube-system/proxy",
            "released: 10.0.0.1 of web/a",
            "released: 10.0.0.2 of web/b",
            "released: the sandbox of kube-system/proxy",
        ]
        assert until(lambda: not owners(call, options), "all is given back")
        again = call("ipam", "release", "gone", "--json", *options)
        assert (again.code, again.json["ordered"], again.json["pending"]) == (0, [], 0)
        assert call("ipam", "show", "--pod", "web/c", *options).code == 0
        assert running.stop().code == 0


@pytest.mark.usefixtures("impatient")
def test_pending_releases_are_reported_without_a_running_decider(nats_server: NatsServer, call: Call) -> None:
    options = stored(nats_server, cluster())
    result = call("ipam", "release", "gone", *options)
    assert result.code == 0
    assert "3 orders not carried out yet: does `romana-bus run ipam` run?" in " ".join(result.out.split())
    assert owners(call, options) == {"web/a", "web/b", "kube-system/proxy"}


def test_existing_node_and_invalid_names(nats_server: NatsServer, call: Call) -> None:
    options = stored(nats_server, cluster())
    for _ in range(2):
        call("ipam", "release", "here", *options).complains(
            2, "here: the API server shows this node: delete the node object first"
        )
        call("ipam", "release", "gon", *options).complains(2, "gon: no node of this name", "gone")
        for name in ("", "nobody", "\x1b[2J", "n" * 1000, "*", "web/a"):
            call("ipam", "release", name, *options).complains(
                2, "no node of this name has an address or a sandbox request"
            )
    result = call("ipam", "release", "empty", *options)
    assert result.code in (0, 2), result


def test_empty_log_and_unreachable_log(
    nats_server: NatsServer, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("ipam", "release", "n1", *begun(nats_server.url, "release-nothing")).complains(
        2, "n1: no node of this name has an address or a sandbox request"
    )
    monkeypatch.setattr("romana_bus.bus.connect.CONNECT_WITHIN", 0.5)
    url = f"nats://127.0.0.1:{free_port()}"
    call("ipam", "release", "n1", "--nats", url).complains(1, f"cannot reach NATS at {url}: ")
    call("ipam", "release", "--nats", url).complains(2, "NODE requires an argument")
