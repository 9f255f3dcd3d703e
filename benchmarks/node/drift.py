"""Drift to mended: what others change on the node's side of pods' links, until the agent has made it right.

`romana-bus agent` as a process in the namespace of a node with `--pods` pods of both families. Each change is
made by `ip` or `sysctl`, whose start is included; then the kernel is read again and again until all links are
as they were. And what that costs: one look of the agent at all pods, and its CPU while nothing changes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.node.agents import cpu_of
from benchmarks.report import Report
from romana_bus.cni.link import mend, sysctls
from romana_bus.cni.link.drift import Actual, Wanted, plan
from romana_bus.cni.link.veth import veth
from romana_bus.inet import format_address
from romana_bus.netlink import namespaces
from tests.cni.node import Node, Reachable

if TYPE_CHECKING:
    from romana_bus.cni.link.veth import Veth

PODS, ROUNDS, IDLE, WITHIN = 110, 20, 130.0, 100.0
#: Seconds between two changes, so that each meets an agent that has nothing to do; and between two looks.
PAUSE, POLL = 1.0, 0.005
CHANGES = {
    "a pod's IPv4 route deleted": "ip route del {four}",
    "a pod's IPv6 route deleted": "ip -6 route del {six}",
    "all routes of pods flushed": "ip route flush proto 83",
    "a link set down and up": "ip link set {link} down; ip link set {link} up",
    "IPv6 of a link turned off and on": "sysctl -qw {six_off}=1; sysctl -qw {six_off}=0",
    "fe80::1 of a link deleted": "ip address del fe80::1/64 dev {link}",
    "ip_forward set to 0": "sysctl -qw net.ipv4.ip_forward=0",
}


def attached(node: Node, count: int) -> list[Veth]:
    """Pods with an address of each family."""
    pods = [node.pod() for _ in range(count)]
    addresses = [node.fresh() for _ in pods]
    node.publish(*(node.assigned(pod, *both) for pod, both in zip(pods, addresses, strict=True)))
    node.until_read()
    for pod in pods:
        node.added(pod)
    return [veth(pod.container, "eth0", both) for pod, both in zip(pods, addresses, strict=True)]


def _state() -> tuple[Actual, str]:
    return mend.read(), sysctls.read("ipv4/ip_forward")


def _until_mended(change: str, before: tuple[Actual, str]) -> float:
    """Seconds from the start of the command."""
    began = time.perf_counter()
    subprocess.run(["sh", "-ec", change], check=True, capture_output=True)
    while _state() != before:
        time.sleep(POLL)
        if time.perf_counter() - began > WITHIN:
            raise SystemExit(f"not mended within {WITHIN:g} s: {change}")
    return time.perf_counter() - began


def _measured(pod: Veth, rounds: int) -> dict[str, list[float]]:
    before, seconds = _state(), dict[str, list[float]]()
    four, six = (format_address(*address) for address in pod.addresses)
    words = {"four": four, "six": six, "link": pod.host, "six_off": f"net.ipv6.conf.{pod.host}.disable_ipv6"}
    for what, change in CHANGES.items():
        for _ in range(rounds):
            time.sleep(PAUSE)
            seconds.setdefault(what, []).append(_until_mended(change.format(**words), before))
    return seconds


def _look(pods: list[Veth], rounds: int) -> float:
    """Seconds for the agent's work of one look at all pods."""
    wanted = [Wanted(pod, pod.addresses) for pod in pods]
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        if plan(wanted, mend.read()).drifts:
            raise SystemExit("the links differ from what they should be")
        took.append(time.perf_counter() - began)
    return statistics.median(took)


def _idle(pid: int, seconds: float) -> float:
    """Part of a core that the process uses while nothing changes."""
    before = cpu_of(pid)
    time.sleep(seconds)
    return (cpu_of(pid) - before) / seconds


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("benchmarks drift: run it as root: it makes network namespaces")
    parser = argparse.ArgumentParser()
    parser.add_argument("--pods", type=int, default=PODS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    report = Report(f"Drift of pods' links to mended, on a node with {options.pods} pods")
    with (
        tempfile.TemporaryDirectory(prefix="romana-bench-") as scratch,
        Reachable(Path(scratch, "nats")) as nats,
        Node(Path(scratch, "node"), nats, "bench") as node,
    ):
        node.start().until_synced()
        pods = attached(node, options.pods)
        with namespaces.visited(f"/run/netns/{node.netns}"):
            for what, seconds in _measured(pods[0], options.rounds).items():
                median = statistics.median(seconds)
                worst = f"slowest {max(seconds) * 1000:.0f} ms"
                report.add(f"{what}, median", f"{median * 1000:.0f} ms", worst, "", "< 100 ms", median < 0.1)
            report.add("the agent's work for one look", f"{_look(pods, 50) * 1000:.1f} ms")
        idle = _idle(node.pid, options.idle)
        report.add("the agent's CPU, idle", f"{idle:.2%} of a core", "", "", "< 0.2 %", idle < 0.002)
    report.print()


if __name__ == "__main__":
    main()
