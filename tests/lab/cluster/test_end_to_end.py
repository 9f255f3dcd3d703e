"""The lab with real agents: pods that ping, by the routes that blocks got, through what goes wrong."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from romana_bus.inet import covering, parse_prefix
from romana_bus.lab.cluster import netns
from tests.cli.processes import Home, until
from tests.lab.cluster.conftest import needs_root
from tests.lab.cluster.lab import Commands

if TYPE_CHECKING:
    from romana_bus.lab.cluster.spec import Spec

pytestmark = [
    needs_root,
    pytest.mark.skipif(
        importlib.util.find_spec("romana_bus.cli.agent") is None, reason="there is no `romana-bus agent`"
    ),
]


@pytest.fixture
def run(home: Home, lab: Spec) -> Commands:
    return Commands(home, lab)


class Stream:
    """Pings from a pod, ten a second, while something happens. `lost` is asked at the end."""

    def __init__(self, source: str, address: str) -> None:
        command = ["ip", "netns", "exec", source, "ping", "-n", "-i", "0.1", "-D", address]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._lines += self._process.stdout
        self._process.stdout.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)
        self._reader.join(10)

    @property
    def summary(self) -> str:
        return next(line for line in self._lines if "packets transmitted" in line)


def space(run: Commands, pod: str) -> str:
    """A pod's network namespace."""
    from romana_bus.lab.cluster import finding
    from romana_bus.lab.cluster.place import Place

    return finding.find(Place.open(run.spec.name), pod).netns


def block_routes(run: Commands, node: str) -> set[str]:
    shown = netns.asked(run.spec.namespace(node), "route", "show", "proto", "82")
    return {str(route["dst"]) for route in shown if route.get("type") != "unreachable"}


@pytest.mark.parametrize("options", [(), ("--ipv6",)])
def test_all_pods_reach_each_other_with_addresses_of_their_zone(
    run: Commands, options: tuple[str, ...]
) -> None:
    run.up(*options)
    run("pod", "run", "web", "--count", "4", "--zone", "zone-a")
    run("pod", "run", "db", "--count", "4", "--zone", "zone-b")
    zones = {one["name"]: one["prefixes"] for one in run("status", "--json").json["zones"]}
    for pod in run.pods().values():
        assert len(pod["addresses"]) == 1 + len(options)
        for address, prefix in zip(pod["addresses"], zones[pod["zone"]], strict=True):
            assert parse_prefix(prefix).contains(covering(f"{address}/{128 if ':' in address else 32}"))
    assert "64 of 64 pairs reach each other" in run("matrix").out
    paths = run("ping", "web-1", "db-1", "--json").json_lines
    assert all(path["reached"] == "db-1" for path in paths)


def test_the_demonstration_is_as_promised(run: Commands) -> None:
    found = run("demo", "--json").json
    assert found["outside"] == 0
    assert found["router"]["outside"] == 0
    assert len(found["opened"]) == 4
    assert {name: one["inside"] for name, one in found["nodes"].items()} == dict.fromkeys(found["nodes"], 1)
    again = run("demo", "--json").json  # on the same lab
    assert again["as_promised"]


def test_an_agent_that_is_killed_changes_no_route_and_drops_no_packet(run: Commands) -> None:
    run.up()
    run("pod", "run", "web", "--node", "a1")
    run("pod", "run", "db", "--node", "a2")
    before = block_routes(run, "a1")
    assert before
    with Stream(space(run, "web"), run.pods()["db"]["addresses"][0]) as stream:
        run("agent", "kill", "a1")
        run("agent", "kill", "a1", code=2)
        assert block_routes(run, "a1") == before
        run("agent", "start", "a1")
        run("pod", "run", "late", "--node", "a1")
    assert " 0% packet loss" in stream.summary
    assert before <= block_routes(run, "a1")


def test_an_outage_of_nats_stops_no_packet_and_no_del(run: Commands) -> None:
    run.up("--zones", "1")
    run("pod", "run", "web", "--count", "2", "--node", "a1")
    run("pod", "run", "db", "--node", "a2")
    with Stream(space(run, "web-1"), run.pods()["db"]["addresses"][0]) as stream:
        run("nats", "stop")
        run("pod", "delete", "web-2")
        run("nats", "start")
        run("pod", "run", "late", "--node", "a1")
    assert " 0% packet loss" in stream.summary
    assert "9 of 9 pairs" in run("matrix").out


def test_a_node_that_comes_back_has_the_same_addresses(run: Commands) -> None:
    run.up()
    run("pod", "run", "web", "--count", "3", "--node", "a1")
    run("pod", "run", "db", "--node", "b1")
    before = {name: pod["addresses"] for name, pod in run.pods().items()}
    run("node", "kill", "a1")
    run("ping", "db", "a2")  # the router does not send by way of it
    run("node", "start", "a1")
    assert {name: pod["addresses"] for name, pod in run.pods().items()} == before
    assert "16 of 16 pairs" in run("matrix").out


def test_static_pods_get_addresses_too(run: Commands) -> None:
    run.up("--zones", "1")
    run.manifest("a1", "proxy")
    until(lambda: run.pods().get("proxy-a1", {}).get("state") == "Running", "the static pod runs")
    run("ping", "a2", "kube-system/proxy-a1")


def test_a_wish_that_cannot_be_met_says_why(run: Commands) -> None:
    run.up("--zones", "1", "--nodes-per-zone", "1")
    wish = ("--annotation", "romana.io/address=192.0.2.1")
    failed = run("pod", "run", "web", *wish, "--wait", "15", code=1)
    assert "192.0.2.1" in failed.err


def test_every_process_may_be_killed_and_nothing_is_left(run: Commands) -> None:
    from romana_bus.lab.cluster import processes

    run.up()
    run("pod", "run", "web", "--count", "4")
    for pid in processes.marked(run.spec.name):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    run("down")
    assert run.is_left() == []
