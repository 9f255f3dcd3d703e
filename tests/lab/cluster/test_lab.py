"""A whole lab by its commands, with Debian's plugins in the place of the agents: it comes up, it is looked
at, it is broken, and nothing is left of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.lab.cluster import services
from romana_bus.lab.machine import netns
from romana_bus.lab.machine.directory import ROOT, Lab
from tests.cli.processes import ROMANA_BUS, Home, until
from tests.lab import iproute
from tests.lab.cluster.lab import Commands, links_of
from tests.lab.conftest import needs_plugins, needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.lab.spec import Spec

pytestmark = [needs_root, needs_plugins]


@pytest.fixture
def run(home: Home, lab: Spec, conflist: Path) -> Commands:
    return Commands(home, lab, conflist)


def test_a_lab_runs_pods_and_leaves_nothing_behind(run: Commands, home: Home) -> None:
    up = run.up("--zones", "1", "--nodes-per-zone", "2")
    assert "✓ NATS" in up.out
    for line in (f". {ROOT / run.spec.name}/env ", "romana-bus lab pod run web --count 3 "):
        assert f"  {line}" in up.out
    assert not links_of(run.spec) & set(os.listdir("/sys/class/net"))

    run("pod", "run", "web", "--count", "2", "--node", "a1", "--label", "tier=front")
    pods = run.pods()
    assert {name: (pod["node"], pod["state"]) for name, pod in pods.items()} == {
        "web-1": ("a1", "Running"),
        "web-2": ("a1", "Running"),
    }
    address = pods["web-2"]["addresses"][0]
    seen = run("exec", "web-1", "--", "ip", "-4", "address", "show", "eth0").out
    assert pods["web-1"]["addresses"][0] in seen
    (ping,) = run("ping", "web-1", "web-2", "--json").json_lines
    assert (ping["address"], ping["reached"], ping["received"]) == (address, "web-2", 3)
    assert [hop["at"] for hop in ping["path"]] == ["web-1", "a1"]
    assert "4 of 4 pairs reach each other" in run("matrix").out

    status = run.sourced("romana-bus status --json")
    assert status.code == 0, status
    assert status.json["server"]["cluster"] == run.spec.name
    assert run.sourced("env | grep ^ROMANA_LAB=").out == ""  # or `lab down` would end that shell
    assert run.sourced("romana-bus lab status --json").json["name"] == run.spec.name
    bare = run.sourced("type -P $COMMAND", PATH="/usr/bin:/bin", COMMAND="romana-bus")
    assert bare.out.strip() == ROMANA_BUS

    run("pod", "delete", "web-1")
    assert run.pods().keys() == {"web-2"}
    assert "is down. Removed:" in run("down").out
    assert run.is_left() == []
    assert "nothing to remove" in run("down").out


def test_up_twice_changes_nothing(run: Commands, home: Home) -> None:
    run.up("--zones", "1", "--nodes-per-zone", "1")
    before = run("status", "--json").json
    again = home.run(*run.up_arguments)
    again.complains(2, f"lab {run.spec.name} is up already", f"lab down --name {run.spec.name}")
    assert run("status", "--json").json == before


def test_down_removes_processes_without_a_record(run: Commands) -> None:
    run.up("--zones", "1", "--nodes-per-zone", "1")
    guest = subprocess.Popen(["ip", "netns", "exec", run.spec.namespace("a1"), "sleep", "600"])
    try:
        for record in (ROOT / run.spec.name / "processes").iterdir():
            record.unlink()
        (ROOT / run.spec.name / "lab.json").unlink()
        run("down")
        assert guest.wait(10) == -signal.SIGKILL  # it would have kept the namespace
    finally:
        guest.kill()
        guest.wait()
    assert run.is_left() == []


@pytest.mark.parametrize(
    ("number", "at"), [(signal.SIGINT, "network"), (signal.SIGTERM, "NATS"), (signal.SIGINT, "API server")]
)
def test_an_up_that_is_interrupted_cleans_up_after_itself(
    run: Commands, home: Home, number: signal.Signals, at: str
) -> None:
    with home.start(*run.up_arguments) as rising:
        rising.until(lambda: f"✓ {at}" in rising.out, at)
        rising.stop(number)
    assert run.is_left() == []


def test_failed_up_reports_the_reason_and_cleans_up(run: Commands, home: Home) -> None:
    iproute.ip("netns", "add", run.spec.namespace("b1"))
    failed = home.run(*run.up_arguments)
    assert failed.code == 1
    assert "File exists" in failed.err
    assert "Traceback" not in failed.err
    assert run.is_left() == []


def test_node_without_a_usable_cni_is_not_ready_with_a_reason(run: Commands) -> None:
    run.up("--zones", "1", "--nodes-per-zone", "1")
    conf = ROOT / run.spec.name / "nodes/a1/net.d/10-lab.conflist"
    text = conf.read_text()
    conf.write_text(text.replace('"ptp","mtu"', '"nowhere","mtu"'))
    failed = run("pod", "run", "web", "--node", "a1", "--wait", "2", code=1)
    assert 'failed to find plugin "nowhere"' in failed.err
    conf.write_text(text)
    until(lambda: run.pods()["web"]["state"] == "Running", "the pod runs once it can")
    assert len([name for name in netns.named(run.spec.prefix) if "-pod-" in name]) == 1


def test_a_kubelet_that_was_killed_finds_its_pods_again(run: Commands) -> None:
    run.up("--zones", "1", "--nodes-per-zone", "1")
    run("pod", "run", "web", "--count", "2", "--node", "a1")
    before, spaces = run.pods(), netns.named(run.spec.prefix)
    os.kill(run.pid("kubelet-a1"), signal.SIGKILL)
    stranger = f"{run.spec.namespace('a1')}-pod-000000000000"
    netns.add(stranger)
    place = Lab.open(run.spec.name)
    services.start_kubelet(place, place.spec.node("a1"))
    until(lambda: not netns.exists(stranger), "namespaces that nobody knows are removed")
    run("pod", "run", "more", "--node", "a1")
    assert {name: run.pods()[name] for name in before} == before
    assert set(spaces) <= set(netns.named(run.spec.prefix))


def test_a_node_without_power_has_nothing_and_gets_its_pods_back(run: Commands) -> None:
    run.up("--zones", "1", "--nodes-per-zone", "2")
    run("pod", "run", "web", "--count", "2", "--node", "a1")
    run("node", "kill", "a1")
    assert not [one for one in netns.named(run.spec.prefix) if one.startswith(run.spec.namespace("a1"))]
    assert run.pods()["web-1"]["why"] == "node a1 is not ready"
    run("node", "kill", "a1", code=2)
    run("ping", "a2", "172.31.1.11", code=1)
    off = run("exec", "web-1", "--", "true", code=2)
    assert "is off" in off.err
    run("node", "start", "a1")
    run("ping", "a2", "a1")
    until(lambda: not any(pod["why"] for pod in run.pods().values()), "the node is ready")
    assert "4 of 4 pairs" in run("matrix").out
    run("node", "start", "a1", code=2)


def test_nats_can_be_stopped_and_comes_back_with_what_it_had(run: Commands, home: Home) -> None:
    run.up("--zones", "1", "--nodes-per-zone", "1")

    def leader() -> Any:
        return run.sourced("romana-bus status --json").json["leaders"]

    before = leader()
    run("nats", "stop")
    assert "stopped" in run("status").out
    run("nats", "stop", code=2)
    run("nats", "start")
    run("nats", "start", code=2)
    until(lambda: leader()[0]["lease"], "the watcher leads again")
    assert leader()[0]["term"] >= before[0]["term"]


def test_a_static_pod_runs_and_is_mirrored(run: Commands) -> None:
    run.up("--zones", "1", "--nodes-per-zone", "1")
    manifest = run.manifest("a1", "proxy")
    until(lambda: run.pods().get("proxy-a1", {}).get("state") == "Running", "the mirror runs")
    address = run.pods()["proxy-a1"]["addresses"]
    run("ping", "a1", "kube-system/proxy-a1")
    until(lambda: run.pods().get("proxy-a1", {}).get("addresses") == address, "it is mirrored again")
    manifest.unlink()
    until(lambda: "proxy-a1" not in run.pods(), "the mirror is gone")
    assert not [name for name in netns.named(run.spec.prefix) if "-pod-" in name]


def test_the_router_follows_a_topology_that_is_changed(run: Commands) -> None:
    run.up("--zones", "2", "--nodes-per-zone", "1")

    def static() -> set[str]:
        shown = iproute.asked(run.spec.router, "route", "show", "proto", "static")
        return {str(route["dst"]) for route in shown}

    assert static() == {"10.20.0.0/17", "10.20.128.0/17"}
    file = ROOT / run.spec.name / "topology.yaml"
    file.write_text(file.read_text().replace("10.20.0.0/16", "10.30.0.0/16"))
    applied = run.sourced('romana-bus topology apply "$TOPOLOGY"', TOPOLOGY=str(file))
    assert applied.code == 0, applied
    until(lambda: static() == {"10.30.0.0/17", "10.30.128.0/17"}, "the router has the new prefixes")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of a foreign cluster."""
    file = tmp_path / "kubeconfig"
    root = str(Path(__file__).parents[3])
    process = subprocess.Popen([sys.executable, "-m", "tests.lab.cluster.apiserver", str(file)], cwd=root)
    try:
        until(file.exists, "the API server listens")
        yield file
    finally:
        process.terminate()
        process.wait(10)


def test_its_nodes_may_be_those_of_another_cluster(run: Commands, cluster: Path) -> None:
    def nodes() -> set[str]:
        shown = subprocess.run(
            [sys.executable, "-c", NODES, cluster], capture_output=True, text=True, check=True
        )
        return set(shown.stdout.split())

    run.up("--zones", "2", "--nodes-per-zone", "1", "--kubeconfig", str(cluster))
    assert nodes() == {"a1", "b1"}
    run("pod", "run", "web", "--zone", "zone-b")
    assert run.pods()["web"]["node"] == "b1"
    run("ping", "b1", "web")
    run("down")
    assert nodes() == set()
    assert run.is_left() == []


NODES = """
import json, sys, urllib.request
server = json.load(open(sys.argv[1]))["clusters"][0]["cluster"]["server"]
for node in json.load(urllib.request.urlopen(server + "/api/v1/nodes"))["items"]:
    print(node["metadata"]["name"])
"""


def test_invalid_options_are_one_line_errors(run: Commands, home: Home) -> None:
    run("status", code=2)
    home.run("lab", "up", "--name", "A").complains(2, "--name 'A'", "lower-case")
    home.run("lab", "up", "--zones", "99").complains(2, "--zones 99: must be between 1 and 16")
    home.run("lab", "up", "--kubeconfig", "/nowhere").complains(2, "--kubeconfig /nowhere: there is no such")
    run.up("--zones", "1", "--nodes-per-zone", "1")
    for arguments, words in (
        (("ping", "a1", "nobody"), "has no pod or node nobody"),
        (("ping", "a11", "a1"), "Did you mean a1?"),
        (("exec", "a1"), "no command given"),
        (("exec", "a1", "--", "no-such-program"), "no-such-program cannot be run"),
        (("pod", "run", "x", "--node", "c1"), "no node c1"),
        (("pod", "run", "x", "--zone", "z"), "no zone z"),
        (("pod", "run", "x", "--label", "y"), "--label y: write KEY=VALUE"),
        (("pod", "delete"), "name the pods"),
        (("matrix",), "there are no pods"),
        (("agent", "kill", "a1"), "have no agents"),
        (("node", "start", "a1"), "is on already"),
    ):
        run(*arguments, code=2).complains(2, words)


def test_root_is_required(home: Home) -> None:
    done = subprocess.run(
        ["setpriv", "--reuid", "65534", "--clear-groups", "--", sys.executable, "-c", NOT_ROOT],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    assert done.returncode == 2, done
    assert "only root can" in done.stderr


NOT_ROOT = "import sys; from romana_bus.cli.app import call; sys.exit(call(['lab', 'up']))"
