"""`romana-bus agent uninstall` on a node whose kernel and files are compared with what they were before."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from romana_bus.events import AgentUninstalled, SandboxRemoved, SandboxRequested, Wired
from tests import kernel
from tests.cni.calling import Pod, pings, until
from tests.cni.node import ROMANA_BUS
from tests.identities import log_options

if TYPE_CHECKING:
    from tests.cni.node import Node

#: Up to ten commands each, and a machine that does much else.
pytestmark = pytest.mark.timeout(300)

#: A static pod's uid, as the kubelet makes it.
STATIC = "0123456789abcdef0123456789abcdef"


class Present(NamedTuple):
    """All that an agent may leave in the kernel."""

    links: frozenset[str]
    addresses: frozenset[kernel.Address]
    routes: frozenset[kernel.Route]
    rules: tuple[Any, ...]
    nexthops: frozenset[int]


def present(node: Node) -> Present:
    return Present(
        frozenset(node.links()),
        frozenset(node.addresses()),
        frozenset(kernel.routes(node.netns)),
        tuple(kernel.rules(node.netns)),
        frozenset(kernel.nexthops(node.netns)),
    )


def files(node: Node) -> set[str]:
    """Below the directories of the agent and of the runtime, without the test's own."""
    return {
        str(path.relative_to(node.directory))
        for name in ("run", "state", "bin", "conf")
        for path in (node.directory / name).rglob("*")
    }


@pytest.fixture
def node(own_node: Node) -> Node:
    """With a neighbour's blocks, and things of others that look a little like ours."""
    for name in ("bin", "conf"):
        (own_node.directory / name).mkdir()
    mac = ("address", "02:00:00:00:00:01")
    own_node.ip("link", "add", "rb0123456789abc", *mac, "type", "veth", "peer", "name", "rb0")
    own_node.ip("link", "set", "rb0", "up")
    own_node.ip("route", "add", "192.0.2.0/24", "via", own_node.outside, "proto", "static")
    own_node.ip("nexthop", "add", "id", "7", "via", own_node.outside, "dev", "eth0")
    own_node.placed(own_node.outside, "neighbour", ("10.77.16.0/28", "10.77.18.0/28"))
    until(lambda: all(one.usable for one in own_node.addresses()), "the kernel has settled")
    return own_node


def started(node: Node, *pods: Pod) -> dict[str, tuple[str, str]]:
    """The agent, with the plugin installed, and with the pods attached; gives their addresses by name."""
    installs(node)
    node.start().until_synced()
    until(lambda: len(node.blocks()) == 2, "the neighbour's blocks are routed", node.log)
    addresses = {}
    for pod in pods:
        four, six = node.decided(pod, *node.fresh())
        node.added(pod)
        addresses[pod.name] = four, six
    node.until_published()
    return addresses


def directories(node: Node) -> list[str]:
    return ["--bin-dir", str(node.directory / "bin"), "--conf-dir", str(node.directory / "conf")]


def installs(node: Node) -> None:
    line = [ROMANA_BUS, "agent", "install-cni", *directories(node), "--run-dir", str(node.run_dir)]
    subprocess.run(line, check=True, capture_output=True)


def uninstall(
    node: Node, *options: str, program: tuple[str, ...] = (ROMANA_BUS,)
) -> subprocess.CompletedProcess[str]:
    log = log_options(f"nats://{node.log_address}:{node.nats.port}", node.cluster)
    return node.inside(
        *program, "agent", "uninstall", "--node", node.name, "--run-dir", str(node.run_dir), "--state-dir",
        str(node.state_dir), *directories(node), *log, *options,
    )  # fmt: skip


def uninstalled(node: Node, *options: str) -> Any:
    """What it says as JSON, when it went well."""
    done = uninstall(node, "--json", *options)
    assert done.returncode == 0, done
    return json.loads(done.stdout)


def test_uninstall_leaves_nothing(node: Node) -> None:
    before = present(node)
    plain, static = node.pod(), node.pod("proxy", STATIC)
    started(node, plain, static)
    assert isinstance(node.newest_of(static), SandboxRequested)
    assert len(present(node).routes) > len(before.routes)
    node.kill()  # so it says nothing, and leaves its socket
    planned = json.loads(uninstall(node, "--dry-run", "--force", "--json").stdout)["removed"]
    attached, there = present(node), files(node)
    refused = uninstall(node)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "2 pods run here" in refused.stderr
    assert str(plain.name) in refused.stderr
    assert (present(node), files(node)) == (attached, there)
    done = uninstalled(node, "--force")
    assert done["removed"] == planned
    assert present(node) == before
    assert not any((node.directory / name).exists() for name in ("run", "state"))
    assert files(node) == set()
    assert done["log"] == {"ended": ["default/proxy"], "why": "", "known": True}
    assert isinstance(node.newest_of(static), SandboxRemoved)
    for consumer in ("cni", "routes"):
        assert isinstance(node.newest(f"node.{node.name}.{consumer}"), AgentUninstalled)
    again = uninstalled(node)
    assert (again["removed"], again["log"]["ended"]) == ([], [])
    assert present(node) == before


def test_kept_pods_stay_connected_without_an_agent_until_they_are_gone(node: Node) -> None:
    before = present(node)
    plain, static, ended = node.pod(), node.pod("proxy", STATIC), node.pod()
    addresses = started(node, plain, static, ended)
    node.kill()
    node.delete(ended)  # the plugin keeps it for an agent
    done = uninstalled(node, "--keep-pods")
    assert sorted(done["kept"].values()) == [f"default/{plain.name}", "default/proxy"]
    assert files(node) & {"conf/10-romana-bus.conflist", "bin/romana-cni"} == {"bin/romana-cni"}
    assert not (node.run_dir / "cni.sock").exists()
    for one, other in ((plain, static), (static, plain)):
        assert all(pings(one.netns, address) for address in addresses[other.name])
    assert node.routes().keys() == {*addresses[plain.name], *addresses["proxy"]}
    assert node.blocks() == {"10.77.16.0/28", "10.77.18.0/28"}
    assert not [route for route in kernel.routes(node.netns) if route.kind == "unreachable"]
    assert isinstance(node.newest_of(static), SandboxRequested)
    assert isinstance(node.newest(f"node.{node.name}.cni"), Wired)
    removed(node, plain)
    refused = uninstall(node)
    assert refused.returncode == 2
    assert "1 pod runs here with our network: default/proxy." in refused.stderr
    removed(node, static)
    assert uninstalled(node)["log"]["ended"] == ["default/proxy"]
    assert (present(node), files(node)) == (before, set())


def removed(node: Node, pod: Pod) -> None:
    """As a runtime removes a sandbox."""
    before = len(node.links())
    node.delete(pod)
    subprocess.run(["ip", "netns", "del", pod.netns], check=True)
    until(lambda: len(node.links()) < before, "the link is gone with its pod")


def test_uninstall_needs_no_log_but_no_agent_may_run(node: Node) -> None:
    before = present(node)
    static = node.pod("proxy", STATIC)
    started(node, static)
    attached = present(node)
    refused = uninstall(node, "--force")
    assert refused.returncode == 2
    assert "systemctl disable --now romana-bus-agent" in refused.stderr
    assert f"kubectl label node {node.name} romana-bus/agent=off" in refused.stderr
    assert present(node) == attached
    assert node.status().code == 0
    node.kill()
    (node.state_dir / "nats").mkdir()  # as on a node that has the log
    node.nats.kill()
    done = uninstall(node, "--force")
    assert done.returncode == 1
    assert "the log was not told: cannot reach NATS" in done.stderr
    assert f"romana-bus ipam release {node.name}" in done.stderr
    assert f"left: {node.state_dir}: others have files there" in done.stdout
    assert (present(node), files(node)) == (before, {"state/nats"})
    node.nats.start()
    assert uninstalled(node)["log"]["ended"] == ["default/proxy"]


#: The same program, which is killed after one thing was removed.
KILLED = """
import os
from romana_bus.agent.uninstall.uninstall import Uninstaller
from romana_bus.cli.main import main
done = Uninstaller._done
def one(self, steps):
    steps = list(steps)
    done(self, steps[:1])
    if steps:
        os._exit(137)
    return []
Uninstaller._done = one
main()
"""


def test_an_uninstallation_that_is_killed_again_and_again_is_completed(node: Node) -> None:
    before = present(node)
    lost, static = node.pod(), node.pod("proxy", STATIC)
    started(node, lost, static)
    node.kill()
    for file in node.run_dir.glob("attachments/*"):
        if lost.name in file.read_text():
            file.unlink()
    node.ip("route", "add", "192.0.2.7/32", "dev", "eth0", "proto", str(kernel.PODS))
    left = [(present(node), files(node))]
    while (killed := uninstall(node, "--force", program=(sys.executable, "-c", KILLED))).returncode == 137:
        left.append((present(node), files(node)))
        assert left[-1] != left[-2], killed
    assert (killed.returncode, len(left) > 5) == (0, True), killed
    assert left[-1] == (before, set())
    assert isinstance(node.newest_of(static), SandboxRemoved)
