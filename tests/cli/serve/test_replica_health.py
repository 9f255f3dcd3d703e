"""The health of a replica while the log is unreachable, read-only or without a leader; and who leads."""

from __future__ import annotations

import itertools
import signal
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import BusError, Outgoing
from romana_bus.bus.connect import open_store
from romana_bus.bus.jetstream import requests
from romana_bus.bus.stream_config import Layout
from romana_bus.events import IPAM, KUBE, ROLES, NodeSeen, PodSeen, ResourceSynced
from romana_bus.runtime.feed import outgoing
from tests.cli.serve.test_endpoints import ask, samples, url_of
from tests.conftest import run
from tests.identities import ADMINISTRATOR, access_to, log_options
from tests.netns import needs_namespaces
from tests.runtime.small_consumers import elections
from tests.servers import NatsCluster, NatsServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from romana_bus.bus.jetstream.store import JetStream
    from tests.cli.conftest import Call
    from tests.cli.processes import Home, Running

AGE = "romana_log_confirmed_age_seconds"
UNWRITABLE = 'romana_log_unwritable{consumer="ipam"}'


def until_ready_shows(running: Running, url: str, text: str, status: int = 503) -> list[str]:
    """The lines of /readyz, once one begins so."""
    lines: list[str] = []

    def result() -> bool:
        lines[:] = ask(url, "/readyz", status).splitlines()
        return any(line.startswith(text) for line in lines)

    running.until(result, f"{status}: {text}")
    return lines


def until_leads(running: Running, url: str) -> None:
    lines = until_ready_shows(running, url, "ok", 200)
    while "ipam: leader" not in lines:
        lines = until_ready_shows(running, url, "ipam: leader", 200)
    assert lines[0] == "ok"
    assert lines[2].startswith("log: confirmed ")


def at(server: NatsServer, do: Callable[[JetStream], Awaitable[Any]], cluster: str = "health") -> Any:
    """What `do` returns, which the administrator does there."""
    found: list[Any] = []

    async def look() -> None:
        opening = open_store(
            access_to(server.url), Layout(cluster), "test", ROLES, who=ADMINISTRATOR, creates=False
        )
        async with await opening as store:
            found.append(await do(store))

    run(look())
    return found[0]


def options(*servers: NatsServer) -> tuple[str, ...]:
    first, *others = servers
    named = itertools.chain.from_iterable(("--nats", server.url) for server in others)
    return (*log_options(first.url, "health"), *named)


def test_unreachable_log(own_server: NatsServer, home: Home) -> None:
    log = options(own_server)
    with home.start("run", "ipam", "--listen", "127.0.0.1:0", *log) as ipam:
        url = url_of(ipam)
        until_leads(ipam, url)
        assert samples(url)[AGE] < 3
        own_server.kill()
        lines = until_ready_shows(ipam, url, "log: NATS has been out of reach for ")
        assert any(line.startswith("log: confirmed ") for line in lines)
        assert samples(url)[AGE] > 3
        home.run("status", *log).complains(1, "cannot reach NATS at", own_server.url)
        own_server.start()
        until_leads(ipam, url)
        assert samples(url)[AGE] < 3
        assert home.run("status", *log).code == 0
        assert ipam.stop().code == 0


def test_log_that_accepts_no_writes(tmp_path: Path, home: Home) -> None:
    """Its disk is as full as it may be. Who leads, and who would take over, both say so; so does `status`."""
    with NatsServer(tmp_path / "nats", jetstream="sync_interval: always, max_file_store: 3MB") as server:
        log = options(server)
        run(made_without_limit(server))
        with home.start("run", "ipam", "--listen", "127.0.0.1:0", *log) as first:
            url = url_of(first)
            until_leads(first, url)
            with home.start("run", "ipam", "--listen", "127.0.0.1:0", *log) as second:
                assert until_ready_shows(second, url_of(second), "ipam: standby", 200)[0] == "ok"
                at(server, fill)
                assert "ipam: leader" in until_ready_shows(first, url, "ipam writes: ")
                assert samples(url)[UNWRITABLE] == 1
                result = home.run("status", *log)
                assert "NATS stores nothing (" in result.out
                assert "make room and restart it" in result.out
                first.stop(signal.SIGKILL)
                until_ready_shows(second, url_of(second), "ipam writes: the lease could not be taken for ")
                at(server, empty)
                until_leads(second, url_of(second))
                assert samples(url_of(second))[UNWRITABLE] == 0
                assert "NATS stores nothing" not in home.run("status", *log).out


async def made_without_limit(server: NatsServer) -> None:
    """A log with a limit does not fit on this server."""
    async with await open_store(access_to(server.url), Layout("health"), "test", ROLES):
        pass


async def fill(store: JetStream) -> None:
    """Until the server takes nothing more."""
    await store.api(
        "STREAM.CREATE.FULL", {"name": "FULL", "subjects": [store.layout.prefix + "full"], "storage": "file"}
    )
    size = 100_000
    while size:
        try:
            await store.put("FULL", Outgoing("full", b"x" * size))
        except BusError:
            size //= 10


async def empty(store: JetStream) -> None:
    await store.api("STREAM.DELETE.FULL")


def test_a_log_that_refuses(own_server: NatsServer, home: Home) -> None:
    """Somebody has set a limit on a stream under which no decision fits. It is tried again and again, and in
    between nobody hears that all is well."""
    with home.start("run", "ipam", "--listen", "127.0.0.1:0", *options(own_server)) as ipam:
        url = url_of(ipam)
        until_leads(ipam, url)
        at(own_server, lambda store: limited(store, 10))
        at(own_server, write_as_foreign_writer)
        until_ready_shows(ipam, url, "ipam, ipam writes: the log refuses: ")
        until_ready_shows(ipam, url, "ipam: neither leader nor standby")
        assert samples(url)[UNWRITABLE] == 1
        at(own_server, lambda store: limited(store, -1))
        until_leads(ipam, url)
        assert samples(url)[UNWRITABLE] == 0


async def limited(store: JetStream, size: int) -> None:
    """The stream takes no message that is larger."""
    name = store.layout.stream(IPAM)
    config = (await store.api(f"STREAM.INFO.{name}"))["config"]
    await store.api(f"STREAM.UPDATE.{name}", config | {"max_msg_size": size})


async def write_as_foreign_writer(store: JetStream) -> None:
    """Something that has to be decided."""
    for event in (
        NodeSeen(resource_version="1", uid="u-n", name="n", addresses=("192.0.2.1",)),
        PodSeen(resource_version="2", uid="u-p", namespace="web", name="p", node="n"),
        *(ResourceSynced(resource=kind, resource_version="3", count=1) for kind in ("nodes", "pods")),
    ):
        await store.publish(KUBE, outgoing(event, "", 1, store.history))


@pytest.mark.cluster
def test_servers_that_have_no_leader(
    tmp_path: Path, home: Home, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of three is there, and it answers: that nothing can be stored."""
    with NatsCluster(tmp_path) as cluster:
        log = (*options(*cluster.servers), "--replicas", "3")
        with home.start("run", "ipam", "--listen", "127.0.0.1:0", *log) as ipam:
            url = url_of(ipam)
            until_leads(ipam, url)
            for server in cluster.servers[1:]:
                server.kill()
            until_ready_shows(ipam, url, "log: the log has not answered for ")
            assert samples(url)[AGE] > 3
            monkeypatch.setattr(requests, "LEADER_WITHIN", 0.5)

            def said() -> bool:
                """The old stream leader takes seconds to notice that it leads no more."""
                refused = call("status", *log)
                refused.complains(1)
                return "its servers have no leader" in refused.err

            ipam.until(said, "its servers have no leader")
            for server in cluster.servers[1:]:
                server.start()
            until_leads(ipam, url)
            assert samples(url)[UNWRITABLE] == 0


@needs_namespaces
def test_two_replicas_with_one_name_do_not_fence_each_other(own_server: NatsServer, home: Home) -> None:
    """As two containers on one host, with its network and thus its name, and each its own pid 1."""
    command = ("run", "ipam", "--listen", "127.0.0.1:0", *options(own_server))
    container = ("unshare", "--pid", "--fork", "--kill-child")
    with home.start(*command, within=container) as first:
        until_leads(first, url_of(first))
        with home.start(*command, within=container) as second:
            until_ready_shows(second, url_of(second), "ipam: standby", 200)
            renewed = at(own_server, lease_number)
            while at(own_server, lease_number) < renewed + 6:  # three times as long as it lasts
                assert first.process.poll() is second.process.poll() is None
            holders = at(own_server, elections)
    assert len(holders) == 1
    assert "/1-" in holders[0]


async def lease_number(store: JetStream) -> int:
    """It grows whenever somebody renews it."""
    found = await store.newest_of(store.layout.lease, "lease.ipam")
    return found.seq if found else 0


def test_foreign_writer_on_a_fenced_stream_is_shown(own_server: NatsServer, home: Home) -> None:
    log = options(own_server)
    with home.start("run", "ipam", "--listen", "127.0.0.1:0", *log) as ipam:
        url = url_of(ipam)
        until_leads(ipam, url)
        place = at(own_server, lambda store: store.publish(IPAM, Outgoing("ipam.map.host.stranger", b"{")))
        ipam.until_logged("somebody else writes what only the leader may")
        until_leads(ipam, url)
        assert samples(url)['romana_foreign_writes_total{stream="IPAM"}'] == 1
        found = home.run("status", "--json", *log).json["flaws"]
        shown = {"stream": "IPAM", "seq": place, "subject": "ipam.map.host.stranger"}
        assert [one | shown for one in found["foreign"]] == found["foreign"] != []
        result = home.run("status", *log).out
        assert "foreign writes: messages that others wrote to a stream of its leader" in result
        assert "ipam.map.host.stranger" in result
