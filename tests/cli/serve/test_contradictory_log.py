"""What is on the log before anybody starts, and cannot be true: refused, shown with its place, and stepped
over."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus import events as ev
from tests.cli.api import ApiThread
from tests.cli.logs import begun, published
from tests.cli.processes import until
from tests.ipam.cluster import topology

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

FAR = str(10**18)


def assigned(name: str, address: str, block: str) -> ev.Event:
    return ev.AddressAssigned(
        namespace="web", name=name, uid=f"uid-{name}", node="n1", tenant="web",
        addresses=(ev.PodAddress(address=address, network="net", block=block),),
    )  # fmt: skip


def parked(call: Call, options: tuple[str, ...]) -> dict[tuple[str, int], str]:
    found = call("status", "--json", *options).json["flaws"]["parked"]
    return {(one["stream"], one["seq"]): one["why"] for one in found}


def addresses(call: Call, options: tuple[str, ...]) -> dict[str, Any]:
    shown = call("ipam", "show", "--host", "n1", "--json", *options)
    pods = shown.json["pods"] if shown.code == 0 else []
    return {one["name"]: one["addresses"] for one in pods if one["addresses"]}


def test_contradicting_events_are_refused_and_shown(nats_server: NatsServer, home: Home, call: Call) -> None:
    options = begun(nats_server.url, "contradictions")
    published(
        options,
        ev.TopologyAccepted(document=topology("10.0.0.0/24", 28)),
        ev.TopologySet(document={"networks": [{"name": "net", "cidr": "10.0.0.0/8"}], "topologies": 7}),
        ev.NodeSeen(resource_version="5", uid="u1", name="n1", addresses=("192.0.2.1",)),
        ev.NodeGone(resource_version=FAR, uid="u1", name="n1"),
        ev.PodGone(resource_version=FAR, uid="uid-a", namespace="web", name="a"),
        ev.BlockAssigned(network="net", block="10.0.0.0/28", node="n1", since=1),
        ev.BlockAssigned(network="net", block="10.0.0.0/28", node="n2", since=2),
        assigned("a", "10.0.0.3", "10.0.0.0/28"),
        assigned("b", "10.0.0.3", "10.0.0.0/28"),
        assigned("c", "10.0.0.200", "10.0.0.0/28"),
        assigned("d", "10.0.0.3", "10.0.0.0/30"),
    )
    with home.start("run", "ipam", *options) as ipam:
        shown = until(lambda: len(found := parked(call, options)) == 5 and found, "all is shown")
        assert "topologies: a list with at least one entry is expected" in shown["SPEC", 1]
        assert shown["IPAM", 3] == "refused: it belongs to node n1"
        assert shown["IPAM", 5] == "refused: 10.0.0.3 is another pod's"
        assert "10.0.0.200 is not in its block 10.0.0.0/28" in shown["IPAM", 6]
        assert shown["IPAM", 7] == "refused: 10.0.0.3 is another pod's, in block 10.0.0.0/28"
        output = " ".join(call("status", *options).out.split())
        assert "messages that cannot be used: they are skipped" in output
        with ApiThread() as api, home.start("watch", "--server", api.server.url, *options) as watch:
            api.node("n1", "a", "192.0.2.1")
            for name in "abcdef":
                api.pod(name, "n1")
            given = until(lambda: len(found := addresses(call, options)) == 6 and found, "all have one")
            assert len({str(one) for one in given.values()}) == 6
            until(lambda: ("IPAM", 5) not in parked(call, options), "what was refused is taken back")
            assert ("SPEC", 1) in parked(call, options)
            assert watch.stop().code == 0
        assert ipam.stop().code == 0
