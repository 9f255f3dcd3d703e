"""The command in a lab with two zones and both families: on the real kernel, with the agents' own routes."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.connectivity.manifests import LABEL
from romana_bus.lab.cluster import down
from romana_bus.lab.machine.directory import ROOT, Lab
from romana_bus.lab.spec import Spec
from tests import kernel
from tests.cli.processes import Home, until
from tests.kernel import BLOCKS, gateways
from tests.lab import iproute
from tests.lab.cluster.lab import Commands
from tests.lab.conftest import DEBIAN_PLUGINS, needs_root

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.processes import Done, Running

pytestmark = needs_root

#: What hostPort needs on the machine, whose programs are those of the lab's nodes.
HAS_PORTMAP = (DEBIAN_PLUGINS / "portmap").exists() and shutil.which("iptables") is not None


class Connectivity:
    """`romana-bus connectivity test` in a lab."""

    def __init__(self, lab: Commands) -> None:
        self.lab = lab
        self._kubeconfig = str(ROOT / lab.spec.name / "kubeconfig")
        self._skip = () if HAS_PORTMAP else ("--skip", "hostport")

    @property
    def arguments(self) -> tuple[str, ...]:
        return "connectivity", "test", "--kubeconfig", self._kubeconfig, *self._skip

    def __call__(self, *arguments: str) -> Done:
        return self.lab.home.run(*self.arguments, *arguments)

    def start(self) -> Running:
        return self.lab.home.start(*self.arguments)

    @property
    def pods(self) -> list[str]:
        """The pods that a test has, or has left."""
        selector = urllib.parse.quote(f"{LABEL}=true")
        server = Lab.open(self.lab.spec.name).facts.server
        with urllib.request.urlopen(f"{server}/api/v1/pods?labelSelector={selector}") as answer:
            return [pod["metadata"]["name"] for pod in json.load(answer)["items"]]


@pytest.fixture(scope="module")
def connectivity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connectivity]:
    home = Home(tmp_path_factory.mktemp("home"))
    lab = Commands(home, Spec(name=f"t{secrets.token_hex(4)}"))
    try:
        lab.up("--ipv6")
        if HAS_PORTMAP:
            _chain_portmap(lab)
        yield Connectivity(lab)
    finally:
        down.down(lab.spec.name)


def _chain_portmap(lab: Commands) -> None:
    for node in lab.spec.nodes:
        directory: Path = ROOT / lab.spec.name / "nodes" / node.name
        shutil.copy2(DEBIAN_PLUGINS / "portmap", directory / "bin")
        options = "--bin-dir", str(directory / "bin"), "--conf-dir", str(directory / "net.d")
        done = lab.home.run("agent", "install-cni", *options, "--run-dir", str(directory / "run"))
        assert done.code == 0, done


#: The rows that a lab of two zones with two nodes has, with the number of their checks.
ROWS = {
    "pod to pod, same node": 4,
    "pod to pod, same zone": 4,
    "pod to pod, across zones": 8,
    "pod to node, same node": 4,
    "pod to node, same zone": 4,
    "pod to node, across zones": 8,
    "node to pod, same node": 4,
    "node to pod, same zone": 4,
    "node to pod, across zones": 8,
    "node to node, same zone": 4,
    "node to node, across zones": 8,
} | ({"hostPort": 12} if HAS_PORTMAP else {})


def test_everything_passes_and_what_a_killed_test_left_is_removed(connectivity: Connectivity) -> None:
    with connectivity.start() as killed:
        killed.until(lambda: "✓ listeners on 4 nodes in 2 zones" in killed.out, "the listeners")
        killed.stop(signal.SIGKILL)
    assert connectivity.pods
    done = connectivity()
    assert done.code == 0, done
    for what, count in ROWS.items():
        (line,) = [line for line in done.lines if line.startswith(f"{what}  ")]
        assert line.split()[-6:] == [str(count), "of", str(count)] * 2
    assert "Everything that was tested passed." in done.out
    assert "API server: there is no Service default/kubernetes" in done.out
    assert "which a test left that was killed" in done.err
    until(lambda: not connectivity.pods, "both namespaces are empty")


def test_a_route_in_the_way_is_told_with_its_place(connectivity: Connectivity) -> None:
    """A foreign route of a1 takes the packets to all blocks of a2, in one family."""
    lab = connectivity.lab
    space = lab.spec.namespace("a1")
    (a2,) = [node.addresses[0] for node in lab.spec.nodes if node.name == "a2"]
    routes = gateways(kernel.routes(space, BLOCKS))
    blocks = [block for block, gateway in routes.items() if gateway == a2 and ":" not in block]
    assert blocks
    iproute.batch(space, [f"route add unreachable {block} metric 1" for block in blocks])
    try:
        done = connectivity("--json")
    finally:
        iproute.batch(space, [f"route del unreachable {block} metric 1" for block in blocks])
    assert done.code == 1, done
    report = done.json
    assert report["passed"] is False
    assert report["problems"] == []
    assert (
        "route to host" in report["failures"][0]["error"] or "unreachable" in report["failures"][0]["error"]
    )
    places = _places(report["failures"])
    forward = "between nodes a1 and a2: no working route to the pods on a2"
    back = "on the way back, between nodes a2 and a1: no working route to the pods on a2"
    assert {pair: where for pair, where in places.items() if not _is_in_zone_b(pair)} == {
        ("pod on a1", "pod on a2"): forward,
        ("node a1", "pod on a2"): forward,
        ("pod on a2", "pod on a1"): back,
        ("pod on a2", "node a1"): back,
    }
    # The router sends some packets of zone b by a1, where the route is in their way too.
    assert all("pod on a2" in pair for pair in places)
    assert all(":" not in failure["address"] for failure in report["failures"])
    failed = {(row["what"], row["family"]): row["failed"] for row in report["rows"] if row["failed"]}
    assert failed["pod to pod, same zone", 4] == 2
    assert connectivity.pods == []


def _places(failures: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
    """Where packets stop, without hostPort, which needs the same way."""
    return {
        (each["source"], each["target"]): each["stopped"] for each in failures if each["what"] != "hostPort"
    }


def _is_in_zone_b(pair: tuple[str, str]) -> bool:
    return any(end.split()[-1].startswith("b") for end in pair)


def test_an_interrupted_test_leaves_nothing(connectivity: Connectivity) -> None:
    """It waits for a listener that does not come, since that node's kubelet stands still."""
    kubelet = connectivity.lab.pid("kubelet-a1")
    os.kill(kubelet, signal.SIGSTOP)
    try:
        with connectivity.start() as running:
            running.until(lambda: connectivity.pods, "the first pods")
            running.process.send_signal(signal.SIGINT)
            running.until(lambda: "✗ listeners" in running.out, "it is interrupted")
            os.kill(kubelet, signal.SIGCONT)  # which has to see its pods go
            done = running.wait()
    finally:
        os.kill(kubelet, signal.SIGCONT)
    assert done.code == 130, done
    assert "Traceback" not in done.err
    assert "✓ removing the probes" in done.out
    assert connectivity.pods == []
