"""Each process with a clock of its own, an hour or a year off: the log's clock is the one that counts.

NATS has the machine's clock: the server is a static Go binary, which libfaketime cannot reach. A server whose
clock steps is `tests/bus/test_clock.py`'s."""

from __future__ import annotations

import itertools
import json
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from tests.cli.api import ApiThread
from tests.cli.conftest import call, home
from tests.cli.logs import begun, published
from tests.cli.processes import until
from tests.cni.conftest import namespaces, own_nats, own_node
from tests.ipam.cluster import topology

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.cni.node import Node
    from tests.servers import NatsServer

__all__ = ["call", "home", "namespaces", "own_nats", "own_node"]

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(LIBRARY is None, reason="clocks are faked by Debian's libfaketime"),
]

HOUR, YEAR = 3600, 365 * 86_400
#: As libfaketime writes them, with their seconds.
OFFSETS = {"+1h": HOUR, "-1h": -HOUR, "+1y": YEAR, "-1y": -YEAR}
TURNS = [list(itertools.islice(itertools.cycle(OFFSETS), turn, turn + 3)) for turn in range(4)]
#: Seconds, by the log's clock; and how exactly two processes know that.
COOLDOWN, EXACT = 2.0, 0.3
#: Seconds of which nobody says anything.
NEAR = 5.0
SAID = "this machine's clock differs from the log's, which counts"


def faked(offset: str) -> dict[str, Any]:
    """The environment of a process whose clock is that much off, and whose monotonic clock is well."""
    return {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def said(log: str) -> set[str]:
    """By how much a process has found its clock to be off, in the words of `OFFSETS`."""
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    found = [one["seconds"] for one in lines if one["event"] == SAID]
    return {offset for offset, seconds in OFFSETS.items() if any(abs(one - seconds) < NEAR for one in found)}


def addressed(call: Call, options: tuple[str, ...]) -> set[str]:
    shown = call("ipam", "show", "--host", "n1", "--json", *options)
    pods = shown.json["pods"] if shown.code == 0 else []
    return {one["name"] for one in pods if one["addresses"]}


def names(kind: str) -> set[str]:
    return {f"{kind}{number:02}" for number in range(12)}


@pytest.mark.parametrize("clocks", TURNS, ids=[" ".join(turn) for turn in TURNS])
def test_watcher_and_deciders_with_different_clocks(
    clocks: list[str], nats_server: NatsServer, home: Home, call: Call
) -> None:
    """16 addresses for 12 pods, and 12 others in their place; the leader ends while theirs cool down."""
    of_watcher, of_leader, of_standby = clocks
    options = begun(nats_server.url, f"clocks{TURNS.index(clocks)}")
    published(options, ev.TopologySet(document=topology("10.0.0.0/28", 28)))
    ipam = ("run", "ipam", "--cooldown", f"{COOLDOWN:g}", "--log-level", "debug", *options)
    with (
        ApiThread() as api,
        home.start("watch", "--server", api.server.url, *options, **faked(of_watcher)) as watcher,
        home.start(*ipam, **faked(of_leader)) as leader,
    ):
        api.node("n1", "a", "192.0.2.1")
        for name in names("old"):
            api.pod(name, "n1")
        leader.until_logged("leading")
        with home.start(*ipam, **faked(of_standby)) as standby:
            until(lambda: addressed(call, options) == names("old"), "all have addresses")
            for name in names("old"):
                api.no_pod(name)
            for name in names("new"):
                api.pod(name, "n1")
            until(lambda: not addressed(call, options) & names("old"), "they are given back")
            leader.stop(signal.SIGKILL)
            standby.until_logged("leading")
            until(lambda: addressed(call, options) == names("new"), "the others have them")
            for process, offset in ((watcher, of_watcher), (leader, of_leader), (standby, of_standby)):
                assert said(process.err) == {offset}
            assert standby.stop().code == 0
        assert watcher.stop().code == 0
    holds(call, options)


def holds(call: Call, options: tuple[str, ...]) -> None:
    """Nothing had two owners, nor one before its time; and whoever wrote goes by the log's clock."""
    owners: dict[str, str] = {}
    free: dict[str, float] = {}
    result = call("events", "tail", "--no-follow", "--all", "--json", "--subject", "ipam.>", *options)
    for line in result.json_lines:
        event, stored = line["event"], line["time"] / 1e6
        if event["type"] not in ("AddressAssigned", "AddressReleased", "AddressDenied"):
            continue
        for address in [at for at, owner in owners.items() if owner == event["name"]]:
            del owners[address]
            free[address] = stored + COOLDOWN
        for cooling in event.get("cooling", ()):
            assert abs(cooling["until"] / 1e6 - stored) < COOLDOWN + NEAR
        for one in event.get("addresses", ()):
            assert one["address"] not in owners
            assert stored > free.get(one["address"], 0.0) - EXACT, f"too early: {line}"
            owners[one["address"]] = event["name"]
    assert len(owners) == 12


@pytest.mark.parametrize("clocks", [("+1h", "-1y"), ("-1h", "+1y")], ids=" ".join)
def test_agent_with_changing_clocks(clocks: tuple[str, str], own_node: Node) -> None:
    """Killed, and started with another clock."""
    node = own_node
    for offset in clocks:
        node.start(behind=("env", *(f"{key}={value}" for key, value in faked(offset).items())))
        node.until_synced()
        pod = node.pod()
        addresses = node.decided(pod, *node.fresh())
        assert {one["address"].partition("/")[0] for one in node.added(pod)["ips"]} == set(addresses)
        node.kill()
    assert said(node.log()) == set(clocks)
    node.start()
    for pod in node.pods:
        node.delete(pod)
    assert node.routes() == {}
    assert node.stop() == 0
