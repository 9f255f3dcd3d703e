"""CNI ADD of a pod whose address is known: from the start of the executable to its end.

`romana-bus agent` as a process in the namespace of a node, called by the static executable, and by the Python
file that takes its place where no compiler is. The peer, turn by turn in the same run and in the same
namespace: Debian's `ptp` with `host-local`, a process that starts another. Each ADD is followed by its DEL,
which is not measured, and by a pause, so that nobody pays for the end of another's link; and each turn begins
with another one, so that nobody always comes behind the same.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import stage
from benchmarks.report import Report, times
from romana_bus.netlink import namespaces
from tests.cni.calling import CLIENTS, PLUGINS, Pod
from tests.cni.node import Node, Reachable

if TYPE_CHECKING:
    from collections.abc import Callable

CALLS, WARM, PAUSE = 200, 10, 0.02
#: Where the Python of the fallback is looked for: not at one that a wrapper starts.
PATH = "/usr/local/bin:/usr/bin:/bin"


class Plugin:
    """One way to wire a pod. `seconds`: what each measured ADD took."""

    def __init__(self, executable: Path, config: dict[str, Any], pod: Pod) -> None:
        self.executable, self.pod = executable, pod
        self.config = json.dumps(config).encode()
        self.seconds: list[float] = []

    def call(self, command: str) -> float:
        environment = {
            "CNI_COMMAND": command, "CNI_CONTAINERID": self.pod.container, "CNI_NETNS": self.pod.path,
            "CNI_IFNAME": "eth0", "CNI_ARGS": self.pod.arguments, "CNI_PATH": str(PLUGINS), "PATH": PATH,
        }  # fmt: skip
        began = time.perf_counter()
        done = subprocess.run(
            [self.executable], input=self.config, env=environment, stdout=subprocess.PIPE, check=False,
            close_fds=False,
        )  # fmt: skip
        took = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(f"{self.executable} {command}: {done.stdout.decode()}")
        return took

    def measure(self, keep: bool) -> None:
        took = self.call("ADD")
        self.call("DEL")
        time.sleep(PAUSE)
        if keep:
            self.seconds.append(took)

    def at(self, percent: int) -> float:
        return sorted(self.seconds)[len(self.seconds) * percent // 100]


def _plugins(node: Node, scratch: Path) -> dict[str, Plugin]:
    """Ours, and the peer where it is installed; each with a sandbox of its own."""
    pods = {name: node.pod() for name in ("static", "python", "both", "peer")}
    for number, name in enumerate(("static", "python", "both"), 1):
        addresses = (f"10.77.0.{number}", f"fd77::{number}")
        node.decided(pods[name], *addresses[: 2 if name == "both" else 1])
    node.until_folded(3)
    ours = node.config()
    found = {
        "static": Plugin(CLIENTS["c"], ours, pods["static"]),
        "both": Plugin(CLIENTS["c"], ours, pods["both"]),
        "python": Plugin(CLIENTS["python"], ours, pods["python"]),
    }
    if (PLUGINS / "ptp").exists():
        ipam = {"type": "host-local", "subnet": "10.88.0.0/16", "dataDir": str(scratch / "host-local"),
                "routes": [{"dst": "0.0.0.0/0"}]}  # fmt: skip
        config = {"cniVersion": "1.0.0", "name": "peer", "type": "ptp", "ipam": ipam}
        found["peer"] = Plugin(PLUGINS / "ptp", config, pods["peer"])
    return found


def _rotated(plugins: list[Plugin], turn: int) -> list[Plugin]:
    """Every second turn goes backwards, or each would still follow the same one."""
    at = turn // 2 % len(plugins)
    turned = plugins[at:] + plugins[:at]
    return turned[::-1] if turn % 2 else turned


def _report(plugins: dict[str, Plugin]) -> Report:
    report = Report("CNI ADD, the address known, process start included")
    peer = plugins.get("peer")
    said = {
        "static": "static executable",
        "both": "static executable, IPv4 and IPv6",
        "python": "Python in its place",
    }
    for (name, what), percent in itertools.product(said.items(), (50, 99)):
        plugin = plugins[name]
        if peer is None:
            report.add(f"{what}, p{percent}", _ms(plugin.at(percent)), "ptp is not installed")
            continue
        ratio = plugin.at(percent) / peer.at(percent)
        promised = name == "static" and percent == 50
        report.add(
            f"{what}, p{percent}", _ms(plugin.at(percent)), f"ptp with host-local {_ms(peer.at(percent))}",
            times(ratio), "≤ 1×" if promised else "", ratio <= 1 if promised else None,
        )  # fmt: skip
    return report


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def _in(node: Node, work: Callable[[], None]) -> None:
    """In the node's network namespace: what is started there is there."""
    home, there = namespaces.opened(), namespaces.opened(f"/run/netns/{node.netns}")
    with namespaces.inside(there, home):
        work()


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("benchmarks cni: run it as root: it makes network namespaces")
    with (
        tempfile.TemporaryDirectory(prefix="romana-bench-") as scratch,
        Reachable(Path(scratch, "nats")) as nats,
        Node(Path(scratch, "node"), nats, "bench") as node,
    ):
        node.start().until_synced()
        plugins = _plugins(node, Path(scratch))

        def work() -> None:
            for turn in range(WARM + CALLS):
                for plugin in _rotated(list(plugins.values()), turn):
                    plugin.measure(keep=turn >= WARM)

        _in(node, work)
        report = _report(plugins)
        report.add("resident memory of the agent", f"{stage.resident(node.pid):.0f} MiB")
    report.print()


if __name__ == "__main__":
    main()
