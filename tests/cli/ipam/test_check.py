"""The log held against the API server: what is found, ordered, and carried out."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.api import ApiThread
from tests.cli.logs import published
from tests.identities import access_to, log_options

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

_clusters = itertools.count()


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return log_options(nats_server.url, f"check{next(_clusters)}")


def lived(api: ApiThread, log: tuple[str, ...], home: Home) -> None:
    """Every pod has an address, and no watcher runs any more."""
    with home.start("up", "--server", api.server.url, "--plain", *log) as up:
        up.until(lambda: up.out.count("AddressAssigned") == 3, "addresses")
        assert up.stop().code == 0


def checked(call: Call, api: ApiThread, log: tuple[str, ...], *more: str) -> tuple[int, Any]:
    done = call("ipam", "check", "--server", api.server.url, "--pause", "0", "--json", *more, *log)
    return done.code, json.loads(done.out)


def printed_events(call: Call, log: tuple[str, ...]) -> str:
    return call("events", "tail", "--no-follow", "--all", *log).out


def test_a_healthy_cluster(api: ApiThread, log: tuple[str, ...], home: Home, call: Call) -> None:
    lived(api, log, home)
    done = call("ipam", "check", "--server", api.server.url, *log)
    assert (done.code, done.err) == (0, "")
    assert "checked: 3 nodes, 3 pods, no kernel, since no agent reports" in done.out
    assert "no differences" in done.out


def test_pod_deleted_while_the_watcher_was_down(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    lived(api, log, home)
    api.no_pod("p1")
    api.pod("p9", "n2")
    code, said = checked(call, api, log)
    assert code == 1
    assert sorted({one["kind"] for one in said["findings"]}) == ["missed", "nobody", "without"]
    assert said["ordered"] == []
    code, said = checked(call, api, log, "--repair")
    assert [one["event"]["type"] for one in said["ordered"]] == ["AddressDisowned", "ListingAsked"]
    assert said["pending"] == ["spec.disowned.n1.web.p1"]
    assert checked(call, api, log, "--repair")[1]["ordered"] == [], "once is enough"
    with home.start("run", "ipam", *log) as running:
        running.until(
            lambda: "nobody" not in {one["kind"] for one in checked(call, api, log)[1]["findings"]}, "freed"
        )
        assert running.stop().code == 0


def test_requested_listing_is_made(api: ApiThread, log: tuple[str, ...], home: Home, call: Call) -> None:
    """The watcher has missed what happened: its log was written behind its back."""
    lived(api, log, home)
    api.no_pod("p1")
    code, _ = checked(call, api, log, "--repair")
    assert code == 1
    with home.start("watch", "--server", api.server.url, "--audit-every", "0", *log) as watching:
        watching.until(
            lambda: "pods: an audit found: pod web/p1 is on the log" in printed_events(call, log),
            "listed again",
        )
        watching.until(lambda: "PodGone          web/p1" in printed_events(call, log), "told")
        assert watching.stop().code == 0
    assert checked(call, api, log)[1]["findings"][0]["kind"] == "nobody", "nobody has decided yet"


def test_timer_releases_leaked_addresses_only(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    """Of a pod whose deletion was missed; its event was put on the log by hand."""
    import asyncio

    from romana_bus.bus.connect import open_store
    from romana_bus.bus.stream_config import Layout
    from romana_bus.events import KUBE, PodSeen
    from romana_bus.runtime.feed import outgoing

    lived(api, log, home)

    async def ghost() -> None:
        seen = PodSeen(
            resource_version="3", uid="ghost", namespace="web", name="ghost", node="n1", phase="Running"
        )
        async with await open_store(access_to(log[1]), Layout(log[3]), "test", [KUBE]) as store:
            await store.publish(KUBE, outgoing(seen, "", 1, store.history))

    asyncio.run(ghost())
    options = ("--audit-every", "0.3", "--audit-grace", "0.5")
    with home.start("up", "--server", api.server.url, "--plain", *options, *log) as up:
        up.until(lambda: "web/ghost gets " in up.out, "an address for nobody")
        up.until(lambda: "web/ghost releases" in up.out, "freed")  # by the audit, or by the second look
        up.until(lambda: "found nothing" in up.out, "all is well")
        assert up.out.count("AddressReleased") == 1
        assert up.stop().code == 0


def test_api_server_of_another_cluster_is_not_trusted(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    lived(api, log, home)
    with ApiThread() as other:
        for number in range(40):
            other.pod(f"x{number}", "elsewhere")
        other.node("elsewhere", "a", "192.0.2.1")
        done = call("ipam", "check", "--repair", "--server", other.server.url, *log)
    assert done.code == 2
    assert "another cluster" in done.err
    assert "Disowned" not in printed_events(call, log)


def test_an_api_server_out_of_reach(api: ApiThread, log: tuple[str, ...], home: Home, call: Call) -> None:
    lived(api, log, home)
    api.close()
    done = call("ipam", "check", "--server", api.server.url, *log)
    assert done.code == 1
    assert "nodes cannot be listed: cannot connect to the API server" in done.err


def test_kernel_reports_count_up_to_what_their_agents_have_read(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    """However short the pause: a young pod is no finding. And what nobody takes back, an audit does."""
    from romana_bus.events import Event, SandboxRequested, Wired

    lived(api, log, home)
    decided = [
        json.loads(line)
        for line in call(
            "events", "tail", "--no-follow", "--all", "--json", "--subject", "ipam.address.>", *log
        ).out.splitlines()
    ]
    given = next(one for one in decided if one["event"]["name"] == "p1")

    def report(covers: int, addresses: dict[str, str]) -> Event:
        return Wired(node="n1", consumer="cni", covers={"IPAM": covers}, addresses=addresses)

    published(log, report(given["seq"] - 1, {}))
    assert checked(call, api, log)[1]["findings"] == []
    published(log, report(given["seq"], {}))
    code, said = checked(call, api, log)
    assert (code, [one["text"] for one in said["findings"]]) == (
        1,
        [f"{given['event']['addresses'][0]['address']} of web/p1 is not wired on n1"],
    )
    published(
        log,
        report(given["seq"], {given["event"]["addresses"][0]["address"]: "web/p1"}),
        SandboxRequested(node="gone", namespace="web", name="x", uid="u", sandbox="s"),
    )
    code, said = checked(call, api, log, "--repair")
    assert [one["event"]["type"] for one in said["ordered"]] == ["SandboxRemoved"]
    code, said = checked(call, api, log)
    assert (code, said["findings"]) == (0, [])


def test_addresses_and_links_of_nodes(api: ApiThread, log: tuple[str, ...], home: Home, call: Call) -> None:
    """Agents report them when pods have their addresses already: nothing is taken, and a person is told."""
    from romana_bus.events import NodeNetwork

    lived(api, log, home)
    before = call("ipam", "show", "--pod", "web/p0", "--json", *log).json
    report = NodeNetwork(
        node="n1", consumer="network", connected=("100.64.0.0/24",), gateways=("100.64.0.0",)
    )
    published(log, report)
    with home.start("run", "ipam", *log) as running:
        running.until_logged("leading")
        code, said = checked(call, api, log, "--repair")
        assert running.stop().code == 0
    assert (code, said["ordered"]) == (1, [])
    assert [(one["kind"], one["node"], one["pod"]) for one in said["findings"]] == [
        ("node", "n0", "web/p0"),
        ("underlay", "n1", ""),
    ]
    done = call("ipam", "check", "--server", api.server.url, "--pause", "0", *log)
    assert "pods with the address of a node: 1  (delete them: new ones get other addresses)" in done.out
    assert "nodes in a network that overlaps what they live on: 1" in done.out
    looked_up = call("ipam", "show", "--ip", "100.64.0.0", *log)
    assert "a gateway of node n1" in looked_up.out
    refused = call("ipam", "settings", "set", "--network", "100.64.0.0/11", *log)
    refused.complains(2, "100.64.0.0/10")
    assert call("ipam", "show", "--pod", "web/p0", "--json", *log).json == before
