"""An agent that was away: killed, frozen or not running, for a moment, or longer than the log goes back."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from romana_bus.events import Applied
from tests.cni.calling import pings, until
from tests.cni.node import Node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cni.node import Reachable


def test_a_killed_agent_changes_no_route_and_drops_no_packet(own_node: Node, tmp_path: Path) -> None:
    node = own_node
    node.placed(node.outside, "neighbour", ("10.77.16.0/28", "10.77.17.0/28"))
    node.start().until_synced()
    until(lambda: len(node.blocks()) == 2, "the neighbour's blocks are routed", node.log)
    one, other = node.pod(), node.pod()
    node.decided(one, *node.fresh())
    four, six = node.decided(other, *node.fresh())
    node.added(one)
    result = node.added(other)
    assert pings(one.netns, six)
    until(lambda: applied(node).changes, "what was done is reported", node.log)
    until(lambda: all(one.usable for one in node.addresses()), "the kernel has settled")
    with heard(node, tmp_path / "heard") as seen, pinging(one.netns, four) as lost:
        node.kill()
        node.add(other).fails(11, "does not answer", "romana-bus agent")
        node.call("STATUS").fails(50, "does not answer")
        node.start().until_synced()
        assert node.added(other) == result  # asked again, as for a lost reply
        assert node.check(other, result).code == 0
        until(lambda: applied(node).changes == 0, "the routes are as the log wants them", node.log)
        assert lost() == []
        assert seen() == []
    node.delete(other)
    assert not {four, six} & node.routes().keys()


def applied(node: Node) -> Applied:
    """The newest report about its routes."""
    found = until(lambda: node.newest(f"node.{node.name}.routes"), "a report", node.log)
    assert isinstance(found, Applied)
    assert found.covers["IPAM"] > 0
    return found


@contextlib.contextmanager
def heard(node: Node, file: Path) -> Iterator[Callable[[], list[str]]]:
    """Netlink notifications of routes, next hops and links of all protocols in the node's namespace."""
    with file.open("wb") as out:
        line = ["ip", "-n", node.netns, "monitor", "route", "nexthop", "link", "address", "rule"]
        monitor = subprocess.Popen(line, stdout=out)

    def mark(number: int) -> list[str]:
        """A route of the test's own; gives what was heard before it."""
        node.ip("route", "add", f"192.0.2.{number}", "dev", "lo")

        def lines() -> list[str]:
            return file.read_text().splitlines()

        until(lambda: any(f"192.0.2.{number}" in one for one in lines()), "the monitor hears")
        return [one for one in lines() if "192.0.2." not in one]

    try:
        until(lambda: _listens(monitor.pid), "the monitor listens")
        assert mark(1) == []
        yield lambda: mark(2)
    finally:
        monitor.kill()
        monitor.wait()


def _listens(pid: int) -> bool:
    """Whether its netlink socket is bound: /proc/net/netlink names it."""
    return any(
        line.split()[2] == str(pid) for line in Path(f"/proc/{pid}/net/netlink").read_text().splitlines()
    )


@contextlib.contextmanager
def pinging(netns: str, address: str) -> Iterator[Callable[[], list[int]]]:
    """Two hundred packets a second; gives the numbers of those that did not come back."""
    line = ["ip", "netns", "exec", netns, "ping", "-i", "0.005", address]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)

    def lost() -> list[int]:
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)[0]
        back = {int(number) for number in re.findall(r"icmp_seq=(\d+) ttl", said)}
        assert len(back) > 20, said
        return sorted(set(range(1, max(back))) - back)

    try:
        yield lost
    finally:
        process.kill()
        process.communicate()


# --- longer than the log goes back ----------------------------------------------------------------------


class Forgetful(Node):
    """The log of its cluster keeps what happened for a second."""

    history = 1.0


@pytest.fixture
def forgetful(own_nats: Reachable, tmp_path: Path) -> Iterator[Node]:
    with Forgetful(tmp_path / "node", own_nats, "forgetful") as made:
        made.placed(made.outside, "neighbour", ("10.77.16.0/28", "10.77.17.0/28"))
        yield made


@pytest.mark.parametrize("how", ["frozen", "frozen and cut off", "not running"])
def test_agent_that_was_down_for_longer_than_the_log_retention_converges(forgetful: Node, how: str) -> None:
    node = forgetful
    node.start().until_synced()
    until(lambda: node.blocks() == {"10.77.16.0/28", "10.77.17.0/28"}, "it has routes", node.log)
    stays, moves = node.pod(), node.pod()
    kept, _ = node.decided(stays, *node.fresh())
    old = node.decided(moves, *node.fresh())
    node.added(stays)
    result = node.added(moves)
    if how == "not running":
        node.kill()
    else:
        node.signal(signal.SIGSTOP)
    position = node.tail().last
    if how == "frozen and cut off":  # what it was sent and has not read is gone with the connection
        node.nats.kill()
        node.nats.start()
    new = node.decided(moves, *node.fresh())
    node.placed(node.outside, "neighbour", ("10.77.18.0/28",))
    node.block_released("neighbour", "10.77.16.0/28")
    until(lambda: node.tail().first > position + 1, "the log has forgotten what it has not read")
    assert node.blocks() == {"10.77.16.0/28", "10.77.17.0/28"}
    assert pings(node.netns, kept)
    if how == "not running":
        node.start()
    else:
        node.signal(signal.SIGCONT)
    if how == "frozen and cut off":
        until(lambda: node.boots("cni", "rewound"), "it begins anew", node.log)
    until(lambda: node.blocks() == {"10.77.17.0/28", "10.77.18.0/28"}, "it has the new routes", node.log)
    node.until_synced()
    until(lambda: node.check(moves, result).code, "it knows the new address", node.log)
    node.check(moves, result).fails(101, new[0])
    assert pings(node.netns, kept)  # whatever became of the log, what is wired stays
    assert pings(node.netns, old[0])
    node.delete(moves)
    assert [one["address"].partition("/")[0] for one in node.added(moves)["ips"]] == list(new)
