"""The lab with real agents: pods that ping, by the routes that blocks got, through what goes wrong."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.inet import covering, parse_prefix
from romana_bus.lab.machine import processes
from tests import kernel
from tests.cli.processes import Home, until
from tests.kernel import BLOCKS, gateways
from tests.lab.cluster.lab import Commands
from tests.lab.conftest import needs_root

if TYPE_CHECKING:
    from romana_bus.lab.spec import Spec

pytestmark = needs_root


@pytest.fixture
def run(home: Home, lab: Spec) -> Commands:
    return Commands(home, lab)


class Stream:
    """Pings from a pod, ten a second, while something happens. `lost` is asked at the end."""

    def __init__(self, source: str, address: str) -> None:
        ping = ["ip", "netns", "exec", source, "ping", "-n"]
        # A new block's route takes some milliseconds to get to other nodes. From then on every packet counts.
        once = [*ping, "-c", "1", "-W", "1", address]
        until(
            lambda: subprocess.run(once, capture_output=True, check=False).returncode == 0,
            f"{address} is reached",
        )
        self._process = subprocess.Popen([*ping, "-i", "0.1", address], stdout=subprocess.PIPE, text=True)
        self._answered: set[int] = set()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._answered.update(int(seq) for seq in re.findall(r"icmp_seq=(\d+) ttl", line))

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        """Two more are answered first: ping does not read what has come when it is stopped."""
        newest = max(self._answered, default=0)
        try:
            until(lambda: max(self._answered, default=0) > newest + 1, "it is answered still")
        finally:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(10)
            self._reader.join(10)

    @property
    def lost(self) -> set[int]:
        """Which of those before the last answer were not answered."""
        return {*range(1, max(self._answered))} - self._answered


def space(run: Commands, pod: str) -> str:
    """A pod's network namespace."""
    from romana_bus.lab.inspect import names
    from romana_bus.lab.machine.directory import Lab

    return names.find(Lab.open(run.spec.name), pod).netns


def block_routes(run: Commands, node: str) -> set[str]:
    return set(gateways(kernel.routes(run.spec.namespace(node), BLOCKS)))


def test_all_pods_reach_each_other_with_addresses_of_their_zone(run: Commands) -> None:
    run.up("--ipv6")
    run("pod", "run", "web", "--count", "4", "--zone", "zone-a")
    run("pod", "run", "db", "--count", "4", "--zone", "zone-b")
    zones = {one["name"]: one["prefixes"] for one in run("status", "--json").json["zones"]}
    for pod in run.pods().values():
        assert len(pod["addresses"]) == 2
        for address, prefix in zip(pod["addresses"], zones[pod["zone"]], strict=True):
            assert parse_prefix(prefix).contains(covering(f"{address}/{128 if ':' in address else 32}"))
    assert "64 of 64 pairs reach each other" in run("matrix").out
    paths = run("ping", "web-1", "db-1", "--json").json_lines
    assert [path["reached"] for path in paths] == ["db-1", "db-1"]

    def trouble() -> dict[str, list[str]]:
        nodes = run.sourced("romana-bus status --json").json["nodes"]
        return {node["node"]: node["trouble"] for node in nodes}

    until(lambda: trouble() == {node: [] for node in ("a1", "a2", "b1", "b2")}, "every agent answers")


def test_the_demonstration_is_as_promised_each_time_and_every_process_may_be_killed(run: Commands) -> None:
    found = run("demo", "--json").json
    assert found["outside"] == 0
    assert found["router"]["outside"] == 0
    assert len(found["opened"]) == 4
    assert {name: one["inside"] for name, one in found["nodes"].items()} == dict.fromkeys(found["nodes"], 1)
    again = run("demo", "--json").json  # on the same lab
    assert again["as_promised"]
    assert again["opened"]
    for pid in processes.marked(run.spec.name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run("down")
    assert run.is_left() == []


@pytest.mark.parametrize("at", ["✓ the router's routes", "✓ 12 pods", "addresses by topology"])
def test_a_demonstration_that_is_interrupted_leaves_nothing(run: Commands, home: Home, at: str) -> None:
    with home.start("lab", "demo", "--name", run.spec.name) as rising:
        rising.until(lambda: at in rising.out, at)
        rising.stop(signal.SIGINT)
    assert run.is_left() == []


def test_an_agent_that_is_killed_changes_no_route_and_drops_no_packet(shared: Commands) -> None:
    shared("pod", "run", "web", "--node", "a1")
    shared("pod", "run", "db", "--node", "a2")
    before = block_routes(shared, "a1")
    assert before
    with Stream(space(shared, "web"), shared.pods()["db"]["addresses"][0]) as stream:
        shared("agent", "kill", "a1")
        shared("agent", "kill", "a1", code=2)
        assert block_routes(shared, "a1") == before
        shared("agent", "start", "a1")
        shared("pod", "run", "late", "--node", "a1")
    assert not stream.lost
    assert before <= block_routes(shared, "a1")


def test_an_outage_of_nats_stops_no_packet_and_no_del(shared: Commands) -> None:
    shared("pod", "run", "web", "--count", "2", "--node", "a1")
    shared("pod", "run", "db", "--node", "a2")
    with Stream(space(shared, "web-1"), shared.pods()["db"]["addresses"][0]) as stream:
        shared("nats", "stop")
        shared("pod", "delete", "web-2")
        shared("nats", "start")
        shared("pod", "run", "late", "--node", "a1")
    assert not stream.lost
    assert "9 of 9 pairs" in shared("matrix").out


def test_a_node_that_comes_back_has_the_same_addresses(shared: Commands) -> None:
    shared("pod", "run", "web", "--count", "3", "--node", "a1")
    shared("pod", "run", "db", "--node", "b1")
    before = {name: pod["addresses"] for name, pod in shared.pods().items()}
    shared("node", "kill", "a1")
    shared("ping", "db", "a2")  # the router does not send by way of it
    shared("node", "start", "a1")
    assert {name: pod["addresses"] for name, pod in shared.pods().items()} == before
    assert "16 of 16 pairs" in shared("matrix").out


def test_a_node_that_was_cut_off_catches_up_with_what_it_missed(shared: Commands) -> None:
    shared("pod", "run", "web", "--node", "a1")
    shared("pod", "run", "gone", "--node", "a2")
    (address,) = shared.pods()["gone"]["addresses"]
    before = block_routes(shared, "a1")
    shared("link", "cut", "a1")
    assert "a1 (cut off)" in shared("status").out
    shared("ping", "web", "gone", code=1)
    shared("pod", "delete", "gone")
    shared("pod", "run", "db", "--count", "12", "--node", "a2")  # more than its blocks have room for
    assert block_routes(shared, "a1") == before
    opened = before | block_routes(shared, "a1")
    shared("link", "mend", "a1")
    until(lambda: block_routes(shared, "a1") > opened, "routes to the blocks that opened meanwhile")
    shared("pod", "run", "late", "--node", "a1")
    assert "196 of 196 pairs" in shared("matrix").out
    shared("ping", "web", address, code=1)  # nobody has it now


def test_a_static_pod_keeps_its_address_when_its_mirror_is_deleted(shared: Commands) -> None:
    def address() -> Any:
        found = shared.pods().get("proxy-a1", {})
        return found.get("state") == "Running" and found["addresses"]

    shared.manifest("a1", "proxy")
    first = until(address, "the static pod runs")
    shared("ping", "a2", "kube-system/proxy-a1")
    shared("pod", "delete", "kube-system/proxy-a1")
    assert until(address, "its mirror is there again") == first
    shared("ping", "a2", "kube-system/proxy-a1")
