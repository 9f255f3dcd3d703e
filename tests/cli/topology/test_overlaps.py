"""Networks that overlap what nodes live on are refused where the log is reachable, and told otherwise."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from tests.cli.api import ApiThread
from tests.cli.logs import ago, published, stored
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Done, Home
    from tests.servers import NatsServer

LINK = "a connected prefix of nodes n1, n2, n3 and 1 more"


def lab(document: dict[str, Any] | None = None) -> Cluster:
    """Four nodes on one link."""
    c = Cluster(document, now=1_700_000_000)
    for n in range(1, 5):
        c.node(f"n{n}")
        c.lives_on(
            f"n{n}", connected=("172.31.1.0/24",), addresses=(f"172.31.1.{10 + n}",), gateways=("172.31.1.1",)
        )  # fmt: skip
    c.decide()
    return c


def written(tmp_path: Path, document: dict[str, Any]) -> str:
    file = tmp_path / "topology.json"
    file.write_text(json.dumps(document, indent=1))
    return str(file)


def in_force(call: Call, log: tuple[str, ...]) -> Any:
    return call("topology", "show", "--json", *log).json["document"]


def both(done: Done) -> str:
    return done.out + done.err


@pytest.mark.parametrize("command", ["plan", "apply", "set", "validate --live"])
@pytest.mark.parametrize("cidr", ["172.31.1.0/24", "172.31.0.0/16", "172.31.1.128/25"])
def test_refused(command: str, cidr: str, nats_server: NatsServer, call: Call, tmp_path: Path) -> None:
    log = stored(nats_server, lab())
    file = written(tmp_path, topology(cidr, 28))
    refused = call("topology", *command.split(), file, *log)
    assert refused.code == 2
    [line] = [line for line in both(refused).splitlines() if "overlaps" in line]
    said = f"{file}:5: networks[0].cidr: {cidr} overlaps 172.31.1.0/24, {LINK}: choose another cidr"
    assert line.removeprefix("romana-bus: ") == said
    assert in_force(call, log) is None
    assert (
        call("topology", *command.split(), written(tmp_path, topology("172.30.0.0/16", 28)), *log).code == 0
    )


def test_a_file_alone_is_not_compared_with_nodes(call: Call, tmp_path: Path) -> None:
    file = written(tmp_path, topology("172.31.1.0/24", 28))
    assert call("topology", "validate", file).code == 0


@pytest.mark.parametrize("command", ["plan", "apply", "set", "validate", "validate --live"])
def test_service_cidr(command: str, nats_server: NatsServer, call: Call, tmp_path: Path) -> None:
    log = stored(nats_server, lab())
    file = written(tmp_path, topology("10.96.0.0/16", 28))
    options = ("--service-cidr", "fd01::/108,10.96.0.0/12", *(log if command != "validate" else ()))
    refused = call("topology", *command.split(), file, *options)
    assert refused.code == 2
    assert "10.96.0.0/16 overlaps 10.96.0.0/12, the service CIDR of the cluster" in both(refused)
    wrong = call("topology", *command.split(), file, "--service-cidr", "10.96.0.1/12")
    wrong.complains(2, "--service-cidr: ", "10.96.0.1/12")


def test_many_overlaps_are_shortened(nats_server: NatsServer, call: Call, tmp_path: Path) -> None:
    c = Cluster(now=1_700_000_000)
    for n in range(9):
        c.node(f"n{n}")
        c.lives_on(f"n{n}", connected=(f"10.0.{n}.0/24",))
    refused = call(
        "topology", "plan", written(tmp_path, topology("10.0.0.0/16", 28)), *stored(nats_server, c)
    )
    assert refused.code == 2
    lines = refused.err.splitlines()
    assert len(lines) == 5
    assert lines[-1].endswith("choose another cidr (and 4 more overlaps)")


def test_a_network_in_use_is_told_so_that_another_one_can_be_added(
    nats_server: NatsServer, call: Call, tmp_path: Path
) -> None:
    """Nodes came onto its addresses later: what runs goes on."""
    c = ago(5, topology("10.0.0.0/16", 28))
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    c.lives_on("n1", connected=("10.0.128.0/24",))
    c.decide()
    log = stored(nats_server, c)
    document = {
        "networks": [
            {"name": "other", "cidr": "10.1.0.0/16", "block_mask": 28},
            {"name": "net", "cidr": "10.0.0.0/16", "block_mask": 28},
        ],
        "topologies": [{"networks": ["other", "net"], "map": [{"name": "all", "groups": []}]}],
    }
    for command in ("validate --live", "plan", "apply"):
        done = call("topology", *command.split(), written(tmp_path, document), *log)
        assert done.code == 0, done
        what = "10.0.0.0/16 overlaps 10.0.128.0/24, a connected prefix of node n1"
        advice = "pods have addresses of it; move them to another network"
        assert f"networks[1].cidr: warning: {what}: {advice}" in both(done)
    assert len(in_force(call, log)["networks"]) == 2


def test_default_network(nats_server: NatsServer, call: Call) -> None:
    log = stored(nats_server, lab())
    refused = call("ipam", "settings", "set", "--network", "172.16.0.0/12", *log)
    refused.complains(2, f"--network 172.16.0.0/12 overlaps 172.31.1.0/24, {LINK}: choose another prefix")
    shown = call("ipam", "settings", "show", "--json", *log).json
    assert shown["seq"] == 0
    assert call("ipam", "settings", "set", "--network", "172.16.0.0/13", *log).code == 0


def test_a_denied_node_and_one_that_stays_are_told_by_status(nats_server: NatsServer, call: Call) -> None:
    c = ago(5, topology("10.0.0.0/16", 28))
    for node in ("n1", "n2"):
        c.node(node)
        c.lives_on(node, connected=("192.0.2.0/24",))
    c.pod("web/a", "n1")
    c.decide()
    for node in ("n1", "n2"):
        c.lives_on(node, connected=("10.0.128.0/24",))
    c.decide()
    c.send(ev.Applied(node="n1", consumer="routes", covers={"IPAM": c.seqs["IPAM"]}))
    log = stored(nats_server, c)
    nodes = {node["node"]: node for node in call("status", "--json", *log).json["nodes"]}
    stays = "10.0.0.0/16 overlaps 10.0.128.0/24, a connected prefix of the node"
    assert nodes["n1"]["trouble"][0] == f"{stays}: see `romana-bus ipam check`"
    assert "overlaps 10.0.128.0/24, a connected prefix of node n2" in nodes["n2"]["denied"]
    text = " ".join(call("status", *log).out.split())
    assert "nodes without a place" in text
    assert stays in text


def test_a_report_that_cannot_be_used_is_stepped_over(
    nats_server: NatsServer, call: Call, tmp_path: Path
) -> None:
    log = stored(nats_server, lab())
    published(log, ev.NodeNetwork(node="n1", consumer="network", addresses=("172.31.1.300",)))
    refused = call("topology", "plan", written(tmp_path, topology("172.31.1.0/24", 28)), *log)
    assert f"172.31.1.0/24 overlaps 172.31.1.0/24, {LINK}" in refused.err, "the report before it counts"


def test_up_refuses_a_new_topology_and_no_restart_with_the_one_in_force(
    nats_server: NatsServer, home: Home, call: Call, tmp_path: Path
) -> None:
    log = stored(nats_server, Cluster(now=1_700_000_000))
    file = written(tmp_path, topology("172.31.1.0/24", 28))
    assert call("topology", "apply", file, *log).code == 0
    with ApiThread() as api:
        api.node("n1", "a", "192.0.2.1")
        published(log, ev.NodeNetwork(node="n1", consumer="network", connected=("172.31.0.0/16",)))
        with home.start("up", "--topology", file, "--server", api.server.url, "--plain", *log) as up:
            up.until(lambda: "overlaps 172.31.0.0/16, a connected prefix of node n1" in up.out, "denied")
            assert up.stop().code == 0
        other = written(tmp_path, topology("172.31.2.0/24", 28))
        refused = call("up", "--topology", other, "--server", api.server.url, "--plain", *log)
    refused.complains(2, "172.31.2.0/24 overlaps 172.31.0.0/16, a connected prefix of node n1")


def test_the_way_out_of_a_default_network_that_overlaps(
    nats_server: NatsServer, call: Call, tmp_path: Path
) -> None:
    """A topology with a network before it: running pods keep their addresses, and new ones get others."""
    c = Cluster(now=1_700_000_000)
    for node, zone in (("n1", "a"), ("n2", "b")):
        c.node(node, {"topology.kubernetes.io/zone": zone})
        c.pod(f"web/{node}", node)
    c.decide()
    c.lives_on("n1", connected=("100.64.9.0/24",))
    c.decide()
    document = {
        "networks": [
            {"name": "pods", "cidr": "10.20.0.0/16", "block_mask": 28},
            {"name": "default", "cidr": "100.64.0.0/10", "block_mask": 28},
        ],
        "topologies": [
            {
                "networks": ["pods", "default"],
                "map": [
                    {"name": zone, "assignment": {"topology.kubernetes.io/zone": zone}, "groups": []}
                    for zone in "ab"
                ],
            }
        ],
    }
    log = stored(nats_server, c)
    done = call("topology", "apply", written(tmp_path, document), *log)
    assert done.code == 0, done
    assert "networks[1].cidr: warning: 100.64.0.0/10 overlaps 100.64.9.0/24" in done.err
    c.send(ev.TopologySet(document=in_force(call, log)))
    c.pod("web/new", "n1")
    before = c.addresses()
    c.decide()
    after = c.addresses()
    assert after.pop("web/new").startswith("10.20.")
    assert after == before
