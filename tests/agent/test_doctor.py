"""`doctor` on a node: a real kernel, a real agent, and what others break."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.processes import ROMANA_BUS
from tests.cni.calling import until
from tests.identities import log_options

if TYPE_CHECKING:
    from tests.cni.node import Node

NEIGHBOUR = "10.77.16.0/28"


@pytest.fixture
def node(own_node: Node) -> Node:
    """With an agent, the plugin, a pod, and a route to another node."""
    node = own_node
    node.placed(node.outside, "neighbour", (NEIGHBOUR,))
    places = [f"--{name}-dir={node.directory / name}" for name in ("bin", "conf", "run")]
    subprocess.run([ROMANA_BUS, "agent", "install-cni", *places], check=True, capture_output=True)
    node.start().until_synced()
    pod = node.pod()
    node.decided(pod, *node.fresh())
    node.until_read()
    node.added(pod)
    until(lambda: node.blocks() == {NEIGHBOUR}, "the neighbour's block is routed", node.log)
    return node


def doctor(node: Node, *more: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and check -> finding. It has the agent's credentials, as on a node."""
    options = log_options(f"nats://{node.log_address}:{node.nats.port}", node.cluster)
    options = tuple("--cluster-name" if option == "--cluster" else option for option in options)
    places = [f"--{name}-dir={node.directory / name}" for name in ("bin", "conf", "run")]
    done = node.inside(
        ROMANA_BUS, "doctor", "--node", "--json", "--node-name", node.name, "--pause=0.5", *places,
        *options, *more,
    )  # fmt: skip
    assert done.stdout, done.stderr
    return done.returncode, {row["check"]: row for row in json.loads(done.stdout)["checks"]}


def wrong(findings: dict[str, Any]) -> set[str]:
    return {name for name, row in findings.items() if row["state"] == "wrong"}


def test_node_that_is_well(node: Node) -> None:
    before = node.ip("route", "show", "table", "all"), node.ip("rule"), node.attached()
    code, findings = doctor(node)
    assert wrong(findings) == set(), findings
    assert code == 0
    assert {name for name, row in findings.items() if row["state"] == "not checked"} == set()
    assert findings["routes"]["found"] == "routes to blocks of other nodes: 1, as the log wants them"
    assert findings["links of pods"]["found"] == "links of pods: 1, as they were made"
    assert before == (node.ip("route", "show", "table", "all"), node.ip("rule"), node.attached())


def test_what_others_have_set_up(node: Node) -> None:
    """An agent does not mend it."""
    node.ip("rule", "add", "to", NEIGHBOUR, "prohibit", "pref", "100")
    node.ip("route", "add", "10.77.16.4/30", "via", node.outside)
    (node.directory / "conf" / "05-flannel.conflist").write_text('{"plugins": [{"type": "flannel"}]}')
    (link,) = [name for name in node.links() if name.startswith("rb")]
    node.ip("link", "set", link, "mtu", "9000")
    code, findings = doctor(node)
    assert code == 1
    assert wrong(findings) == {"firewalls and rules", "foreign routes", "runtime", "MTU"}, findings
    assert "ip rule 100" in findings["firewalls and rules"]["found"]
    assert findings["foreign routes"]["details"] == [f"10.77.16.4/30 via {node.outside}, of boot"]
    assert "05-flannel.conflist" in findings["runtime"]["found"]
    assert findings["MTU"]["details"] == [f"{link}: 9000"]


def test_node_without_its_agent(node: Node) -> None:
    node.kill()
    (link,) = [name for name in node.links() if name.startswith("rb")]
    node.ip("route", "del", NEIGHBOUR, "proto", "82")
    node.ip("route", "flush", "dev", link)
    assert node.inside("sysctl", "-qw", "net.ipv4.ip_forward=0").returncode == 0
    (node.directory / "bin" / "romana-cni").unlink()
    code, findings = doctor(node)
    assert code == 1
    assert wrong(findings) == {"agent", "plugin", "forwarding", "routes", "links of pods"}, findings
    assert "Connection refused" in findings["agent"]["found"]
    assert findings["forwarding"]["found"] == "net.ipv4.ip_forward is 0"
    assert findings["routes"]["details"] == [f"missing: {NEIGHBOUR} via {node.outside}"]
    assert "no route to" in findings["links of pods"]["details"][0]
    assert node.blocks() == set(), "nothing is mended"


def test_log_out_of_reach(node: Node) -> None:
    """What the node has itself is checked; the rest is said not to be."""
    node.nats.kill()
    code, findings = doctor(node)
    assert findings["routes"]["state"] == "not checked"
    assert "out of reach" in findings["routes"]["found"]
    assert wrong(findings) <= {"agent"}, "its agent may have noticed already"
    assert findings["foreign routes"]["state"] == "ok"
    assert code == int(bool(wrong(findings)))
