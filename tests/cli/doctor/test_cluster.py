"""`doctor` on a log and an API server: what it says of a cluster, and that it changes nothing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.stream_config import Layout
from romana_bus.events import NodeNetwork
from tests.cli.ipam.conftest import small_cluster
from tests.cli.ipam.test_check import lived
from tests.cli.logs import begun, published
from tests.cli.processes import Home
from tests.conftest import run
from tests.identities import administrator, log_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.api import ApiThread
    from tests.cli.conftest import Call
    from tests.cli.processes import Done
    from tests.servers import NatsServer

_clusters = itertools.count()
NOT_CHECKED = "not checked"


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return named(log_options(nats_server.url, f"doctor{next(_clusters)}"))


@pytest.fixture(scope="module")
def settled(
    nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ApiThread, tuple[str, ...]]]:
    """An API server, and the options of a log that agrees with it, for tests that leave both alone. Nothing
    runs any more."""
    options = log_options(nats_server.url, f"doctor{next(_clusters)}")
    with small_cluster() as api:
        lived(api, options, Home(tmp_path_factory.mktemp("home")))
        yield api, named(options)


def named(options: tuple[str, ...]) -> tuple[str, ...]:
    """The options of a log as `doctor` takes them: `--cluster` is a scope there."""
    return tuple("--cluster-name" if option == "--cluster" else option for option in options)


def usual(options: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("--cluster" if option == "--cluster-name" else option for option in options)


def found(done: Done) -> dict[str, Any]:
    """Check -> what it found."""
    return {row["check"]: row for row in done.json["checks"]}


def states(done: Done) -> dict[str, str]:
    return {name: row["state"] for name, row in found(done).items()}


def test_cluster_without_a_writer(settled: tuple[ApiThread, tuple[str, ...]], call: Call) -> None:
    api, log = settled
    done = call("doctor", "--cluster", "--server", api.server.url, "--pause", "0", "--json", *log)
    assert done.code == 1
    assert "1 check found something wrong" in done.err
    checks = found(done)
    assert states(done) == {
        "NATS": "ok", "streams": "ok", "settings of NATS": "warning", "clocks": "ok", "writers": "wrong",
        "API server": "ok", "RBAC": "ok", "nodes": "warning", "overlap": "ok", "addresses": "ok",
    }  # fmt: skip
    assert "`romana-bus watch` and `romana-bus run ipam`" in checks["writers"]["do"]
    assert "nodes: 3, pods: 3" in checks["addresses"]["found"]
    assert done.json["counts"] == {"ok": 7, "warning": 2, "wrong": 1, "not checked": 0}


def test_cluster_that_is_well(api: ApiThread, log: tuple[str, ...], home: Home, call: Call) -> None:
    with home.start("up", "--server", api.server.url, "--plain", *usual(log)) as up:
        up.until(lambda: up.out.count("AddressAssigned") == 3, "addresses")
        done = call("doctor", "--cluster", "--server", api.server.url, *log)
        assert (done.code, done.err) == (0, ""), done
        assert "8 ok, 2 warning" in done.out
        assert "do: start `romana-bus agent` on the nodes" in done.out
        assert up.stop().code == 0


def test_differences_overlaps_and_rbac(api: ApiThread, log: tuple[str, ...], home: Home, call: Call) -> None:
    lived(api, usual(log), home)
    api.no_pod("p1")
    published(usual(log), NodeNetwork(node="n1", consumer="network", connected=("100.64.0.0/24",)))
    api.do(lambda: api.server.forbid("watch", "pods"))
    api.do(lambda: api.server.forbid("list", "networkpolicies"))
    done = call("doctor", "--cluster", "--server", api.server.url, "--pause", "0", "--json", *log)
    assert done.code == 1
    checks = found(done)
    assert any("p1" in detail for detail in checks["addresses"]["details"])
    assert "100.64.0.0/24, a connected prefix of node n1" in checks["overlap"]["details"][0]
    assert checks["RBAC"]["details"] == [
        '{apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}',
        '{apiGroups: ["networking.k8s.io"], resources: ["networkpolicies"], verbs: ["list", "watch"]}',
    ]
    assert "forbidden" in checks["RBAC"]["found"]


def test_service_cidr_is_compared(settled: tuple[ApiThread, tuple[str, ...]], call: Call) -> None:
    _, log = settled
    done = call("doctor", "--cluster", "--service-cidr", "100.64.0.0/16", "--json", *log)
    assert "100.64.0.0/16, the service CIDR of" in found(done)["overlap"]["details"][0]


def test_unreachable_nats_and_api_server(home: Home, tmp_path: Path, call: Call) -> None:
    done = call(
        "doctor", "--cluster", "--json", "--nats", "nats://127.0.0.1:9", "--server", "http://127.0.0.1:9"
    )
    assert done.code == 1
    checks = found(done)
    assert "cannot" in checks["NATS"]["found"]
    assert "127.0.0.1:9" in checks["API server"]["found"]
    assert {name for name, row in checks.items() if row["state"] == "wrong"} == {"NATS", "API server"}
    assert {row["state"] for name, row in checks.items() if name not in ("NATS", "API server")} == {
        NOT_CHECKED
    }


def test_machine_without_anything(home: Home, tmp_path: Path) -> None:
    """Nothing is made, nothing is started, and nothing counts as well."""
    missing = ("--run-dir", str(tmp_path / "run"), "--conf-dir", str(tmp_path / "net.d"))
    before = sorted(home.directory.rglob("*"))
    done = home.run("doctor", "--json", *missing)
    assert (done.code, done.err) == (0, "")
    assert set(states(done).values()) == {NOT_CHECKED}
    assert sorted(home.directory.rglob("*")) == before
    text = home.run("doctor", *missing).out
    assert "no agent and no plugin on this machine" in text
    assert "no NATS server is named (--nats)" in text


def test_an_unknown_cluster_is_named(nats_server: NatsServer, call: Call) -> None:
    options = begun(nats_server.url, f"known{next(_clusters)}")
    done = call("doctor", "--cluster", "--json", *named(options[:3]), "nobodys", *options[4:])
    assert "there is no cluster nobodys here" in found(done)["NATS"]["found"]


async def _ends(url: str, cluster: str) -> dict[str, int]:
    """Stream -> its last sequence; without tables, which follow their logs."""
    client = await administrator(url)
    try:
        infos = await client.jetstream().streams_info()
    finally:
        await client.close()
    ends = {info.config.name or "": info.state.last_seq for info in infos}
    prefix = Layout(cluster).stream("")
    return {name: end for name, end in ends.items() if name.startswith(prefix) and "LATEST" not in name}


def test_nothing_is_written_to_the_log(settled: tuple[ApiThread, tuple[str, ...]], call: Call) -> None:
    api, log = settled
    ends: list[dict[str, int]] = []

    async def look() -> None:
        ends.append(await _ends(log[1], log[3]))

    run(look())
    assert len(ends[0]) == 5, "four logs, and the leases"
    requests = dict(api.server.requests)
    call("doctor", "--server", api.server.url, "--pause", "0", *log)
    run(look())
    assert ends[0] == ends[1]
    assert {verb for verb, _ in api.server.requests} == {"list", "watch"}, requests


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--pause", "-1"), "--pause -1"),
        (("--creds", "/nowhere"), "--creds /nowhere"),
        (("--nats", "nats://h:1", "--tls-cert", "x"), "--tls-cert and --tls-key"),
        (("--server", "ftp://x"), "--server ftp://x"),
        (("--service-cidr", "10.0.0.1/8"), "--service-cidr"),
        (("prod",), "prod"),
    ],
)
def test_bad_usage(arguments: tuple[str, ...], part: str, call: Call) -> None:
    call("doctor", *arguments).complains(2, part)
