"""What nodes report, in `status`; and pods that only their kubelets know."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from tests.cli.logs import ago, answering, stored, with_nodes

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.ipam.cluster import Cluster
    from tests.servers import NatsServer


pytestmark = pytest.mark.usefixtures("as_written")

STANDING = {
    "routes": 12,
    "nexthops": 3,
    "hosts on link": 3,
    "hosts off link": 2,
    "blocks by default route": 5,
}


def applied(c: Cluster, node: str, covers: int | None = None, **standing: int) -> None:
    covers = c.seqs["IPAM"] if covers is None else covers
    c.send(
        ev.Applied(
            node=node, consumer="routes", covers={"IPAM": covers}, changes=2,
            standing=STANDING | {name.replace("_", " "): number for name, number in standing.items()},
        )
    )  # fmt: skip


def asked(server: NatsServer, call: Call, c: Cluster, *answer: str) -> dict[str, Any]:
    """What `status` says of each node while these answer."""
    options = stored(server, c)
    with answering(options, c, *answer):
        return {one["node"]: one for one in call("status", "--json", *options).json["nodes"]}


def row(lines: list[str], *words: str) -> str:
    [found] = [line for line in lines if all(word in line for word in words)]
    return " ".join(found.split())


def test_status_of_each_node(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1", "n2", "n3", "n4")
    c.pod("web/a", "n1")
    c.decide()
    mapped = c.seqs["IPAM"]
    c.pod("web/b", "n1")
    c.decide()  # an address is nothing that a route is made for
    applied(c, "n1", mapped)
    c.send(
        ev.Wired(node="n1", consumer="cni", covers={"IPAM": c.seqs["IPAM"]}, addresses={"10.0.0.0": "web/a"})
    )
    applied(c, "n2", mapped - 3)
    c.send(
        ev.ApplyFailed(
            node="n3", consumer="routes", covers={"IPAM": mapped}, error="No buffer space", attempt=7
        )
    )
    options = stored(nats_server, c)
    with answering(options, c, "n1", "n2", "n3"):
        result = call("status", *options)
        found = {one["node"]: one for one in call("status", "--json", *options).json["nodes"]}
    assert (result.code, result.err) == (0, "")
    assert row(result.lines, "n1", "cni").endswith("1 address wired to pods")
    stands = "12 routes, 3 nexthops, 3 hosts on link, 2 hosts off link, 5 blocks by default route"
    [first, second] = [" ".join(line.split()) for line in result.lines if stands in " ".join(line.split())]
    assert first.startswith("routes ")
    assert " by " not in first.removesuffix(stands)
    assert second.startswith("n2 routes ")
    assert second.endswith(f" by 3 {stands}")
    assert row(result.lines, "n3").endswith("No buffer space (attempt 7)")
    assert row(result.lines, "n4") == "n4 no report"
    assert "4 nodes: 24 routes, 1 address wired; 2 with trouble" in result.lines
    assert "5 blocks of 2 hosts are reached by the default route (not on-link), from 2 nodes" in result.lines
    assert [found[name]["trouble"] for name in ("n1", "n2", "n4")] == [[], [], ["no report"]]
    assert [report["consumer"] for report in found["n1"]["reports"]] == ["cni", "routes"]
    assert found["n2"]["reports"][0]["behind"] == 3
    assert found["n1"]["reports"][1]["standing"] == STANDING


def test_node_whose_agent_does_not_answer(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1", "n2", seconds=12.5 * 60)
    applied(c, "n1")
    c.tick(time.time() - 1)
    applied(c, "n2", blocks_cut_off=4)
    options = stored(nats_server, c)
    with answering(options, c, "n2"):
        result = call("status", *options)
    assert "its agent does not answer; its last report is 12 min old" in " ".join(result.out.split())
    assert "4 blocks cannot be reached: of nodes in its group that are not on-link" in result.out
    assert "2 with trouble" in result.out


def test_refused_routes_are_named(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1", "n2")
    why = {
        f"172.31.1.{at * 16}/28": "it lies in 172.31.1.0/24, to which this node is connected"
        for at in range(5)
    }
    for node, refused in (("n1", why), ("n2", {})):
        standing = STANDING | {"routes refused": 7 if refused else 0}
        c.send(
            ev.Applied(
                node=node, consumer="routes", covers={"IPAM": c.seqs["IPAM"]}, standing=standing,
                refused=refused,
            )
        )  # fmt: skip
    options = stored(nats_server, c)
    with answering(options, c, "n1", "n2"):
        result = call("status", *options)
        found = {one["node"]: one for one in call("status", "--json", *options).json["nodes"]}
    [said] = found["n1"]["trouble"]
    assert said.startswith("7 routes refused, to keep what the node lives on: 172.31.1.0/28: it lies in ")
    assert said.endswith("; and 4 more")
    assert found["n2"]["trouble"] == []
    assert "172.31.1.32/28: it lies in 172.31.1.0/24" in " ".join(result.out.split())
    assert "1 with trouble" in result.out


def test_node_without_an_ipv6_address_is_told(nats_server: NatsServer, call: Call) -> None:
    networks = [
        {"name": "four", "cidr": "10.0.0.0/16", "block_mask": 28},
        {"name": "six", "cidr": "fd00::/112", "block_mask": 124},
    ]
    topologies = [{"networks": [network["name"]], "map": [{"groups": []}]} for network in networks]
    c = ago(1, {"networks": networks, "topologies": topologies})
    c.node("n1", addresses=("192.168.0.1",))
    c.node("n2")
    c.decide()
    for node in ("n1", "n2"):
        applied(c, node)
    found = asked(nats_server, call, c, "n1", "n2")
    why = "network six is IPv6, and node n1 has no IPv6 address: let its kubelet report one (--node-ip)"
    assert [found[node]["trouble"] for node in ("n1", "n2")] == [[why], []]


def test_node_that_reports_but_lags(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1", "n2", seconds=100)
    mapped = c.seqs["IPAM"]
    c.tick(time.time() - 1)
    applied(c, "n1", mapped)
    applied(c, "n2", mapped - 3)
    found = asked(nats_server, call, c, "n1", "n2")
    assert found["n1"]["trouble"] == []
    [said] = found["n2"]["trouble"]
    assert "is it cut off from the log?" in said


def test_lagging_node_is_shown_on_a_busy_stream(nats_server: NatsServer, call: Call) -> None:
    """Its newest event is always young; what counts is how long the first one has been there."""
    c = with_nodes("n1", "n2", "n3", seconds=100)
    mapped = c.seqs["IPAM"]
    c.tick(time.time() - 60)
    c.node("n4")
    c.decide()
    c.tick(time.time() - 5)
    nearly = c.seqs["IPAM"]
    c.node("n5")
    c.decide()
    c.tick(time.time() - 1)
    c.node("n6")
    c.decide()
    applied(c, "n1", mapped)
    applied(c, "n2", nearly)
    applied(c, "n3")
    found = asked(nats_server, call, c, "n1", "n2", "n3")
    assert [found[name]["reports"][0]["behind"] > 0 for name in ("n1", "n2", "n3")] == [True, True, False]
    [said] = found["n1"]["trouble"]
    assert said == "routes: has not read events that are 10 s old: is it cut off from the log?"
    assert found["n2"]["trouble"] == found["n3"]["trouble"] == []


def test_pod_report_does_not_count_as_a_route_report(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1", "n2", seconds=12.5 * 60)
    applied(c, "n1")
    c.tick(time.time() - 1)
    for name in ("n1", "n2"):
        c.send(ev.Wired(node=name, consumer="cni", covers={"IPAM": c.seqs["IPAM"]}, addresses={}))
    found = asked(nats_server, call, c, "n2")
    [said] = found["n1"]["trouble"]
    assert said.startswith("its agent does not answer")
    assert found["n2"]["trouble"] == ["no report of its routes"]


def test_uninstalled_agent_and_one_of_an_older_version_are_no_trouble(
    nats_server: NatsServer, call: Call
) -> None:
    c = with_nodes("gone", "older", "dead")
    for name in ("gone", "older", "dead"):
        applied(c, name)
        c.send(ev.Wired(node=name, consumer="cni", covers={"IPAM": c.seqs["IPAM"]}, addresses={}))
    c.send(ev.NodeNetwork(node="dead", consumer="network", connected=("198.18.0.0/30",)))
    for consumer in ("cni", "routes"):
        c.send(ev.AgentUninstalled(node="gone", consumer=consumer))
    found = asked(nats_server, call, c)
    assert (found["gone"]["uninstalled"], found["gone"]["trouble"]) == (True, [])
    assert (found["older"]["older"], found["older"]["trouble"]) == (True, [])
    assert [found[name]["uninstalled"] for name in ("older", "dead")] == [False, False]
    [said] = found["dead"]["trouble"]
    assert said.startswith("its agent does not answer")


def test_deleted_node_is_not_reported_as_missing(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1", "n2", seconds=3600)
    applied(c, "n1")
    c.no_node("n1")
    c.decide()
    c.tick(time.time() - 1)
    applied(c, "n2")
    options = stored(nats_server, c)
    with answering(options, c, "n2"):
        result = call("status", *options)
    assert "1 node: 12 routes, 0 addresses wired; no trouble" in result.lines


def test_agent_of_a_node_that_the_log_does_not_know(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1", "denied", "gone", seconds=100)
    c.send(ev.HostDenied(node="denied", uid="u", reason="needs a label"))
    c.no_node("gone")
    c.decide()
    for name in ("n1", "N2", "denied", "gone", "ended"):
        applied(c, name)
    c.tick(time.time() - 1)
    applied(c, "new")
    options = stored(nats_server, c)
    with answering(options, c, "n1", "N2", "denied", "gone", "new"):
        result = call("status", *options)
        found = {one["node"]: one["trouble"] for one in call("status", "--json", *options).json["nodes"]}
    said = "the log knows no node of this name: is it the node's name in Kubernetes?"
    assert found == {"n1": [], "N2": [said], "denied": [], "gone": [said], "ended": [], "new": []}
    assert said in " ".join(result.out.split())
    assert "3 nodes: 36 routes, 0 addresses wired; 2 with trouble" in result.lines


def test_no_running_agent_is_one_line(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1", "n2")
    result = call("status", *stored(nats_server, c))
    assert "no reports of 2 nodes: `romana-bus agent` runs on none of them" in result.out


def test_nodes_with_problems_are_shown_of_many(nats_server: NatsServer, call: Call) -> None:
    names = [f"n{number}" for number in range(60)]
    c = with_nodes(*names)
    for name in names[1:]:
        applied(c, name)
    options = stored(nats_server, c)
    with answering(options, c, *names):
        result = call("status", *options)
        assert row(result.lines, "no report") == "n0 no report"
        assert "n59" not in result.out
        assert "60 nodes: 708 routes, 0 addresses wired; 1 with trouble" in result.lines
        assert len(call("status", "--json", *options).json["nodes"]) == 60


def test_pod_known_to_its_kubelet_only(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1")
    c.sandbox("kube/static", "n1", uid="0123abc")
    c.decide()
    c.sandbox("kube/waits", "n1")
    options = stored(nats_server, c)
    result = call("ipam", "show", "--pod", "kube/static", *options)
    assert result.lines[0] == "pod kube/static  on n1 (not in the API: its kubelet runs it)"
    assert "address 10.0.0.0" in result.lines
    assert "    kube/static starts on n1 in sandbox box of 0123a" in result.lines
    found = call("ipam", "show", "--pod", "kube/static", "--json", *options).json
    assert (found["in_api"], found["sandboxes"]) == (False, ["n1"])
    [on] = found["on"]
    assert [event["type"] for event in on["events"]] == ["AddressAssigned", "SandboxRequested"]
    assert on["events"][0]["cause"] == "NODE/1"
    result = call("ipam", "show", "--pod", "kube/waits", *options)
    assert "Nothing was decided for it yet" in result.out
