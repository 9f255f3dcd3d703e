"""A sandbox by Debian's containerd: from the kubelet's call to its answer, with our plugin and with a peer's.

Two containerds on one node, turn by turn, and each turn begins with the other one: one has the configuration
of `romana-bus agent install-cni`, the other has Debian's `ptp` with `host-local` in the place of our plugin,
and the same plugins behind it. As on any node, the log has a pod's address before its kubelet starts it. Then
50 sandboxes at once.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import grpc

from benchmarks.report import Report, times
from tests.cni.runtimes import image
from tests.cni.runtimes.containerd import Containerd
from tests.cni.runtimes.machine import CONF_DIR
from tests.cni.runtimes.site import Site

if TYPE_CHECKING:
    from tests.cni.runtimes.cri import Cri, Sandbox

CALLS, WARM, MANY, ROUNDS = 50, 5, 50, 3


class Runtime:
    """One containerd. `seconds`: what each sandbox took; `crowds`: what 50 at once took; `served`: how many
    of 50 answered a ping, in the worst round."""

    def __init__(self, site: Site, cri: Cri) -> None:
        self.site, self.cri = site, cri
        self.seconds: list[float] = []
        self.crowds: list[float] = []
        self.served = MANY

    def one(self, pod: Sandbox, keep: bool) -> None:
        began = time.perf_counter()
        sandbox = self.cri.run(pod)
        took = time.perf_counter() - began
        self.remove([sandbox])
        if keep:
            self.seconds.append(took)

    def many(self, pods: list[Sandbox]) -> None:
        with ThreadPoolExecutor(len(pods)) as threads:
            began = time.perf_counter()
            sandboxes = [each for each in threads.map(self.started, pods) if each]
            self.crowds.append(time.perf_counter() - began)
        addresses = [address for each in sandboxes for address in self.cri.status(each).addresses]
        self.served = min(self.served, len(addresses) - len(self.site.unreachable(addresses)))
        self.remove(list(self.cri.listed()))

    def started(self, pod: Sandbox) -> str:
        with contextlib.suppress(grpc.RpcError):
            return self.cri.run(pod)
        return ""

    def remove(self, sandboxes: list[str]) -> None:
        with ThreadPoolExecutor(len(sandboxes)) as threads:
            for do in (self.cri.stop, self.cri.remove):
                list(threads.map(do, sandboxes))


def _peers_configuration(site: Site, directory: Path) -> None:
    """Ours, with another plugin in the place of our own."""
    directory.mkdir()
    ours = json.loads(site.machine.run("cat", f"{CONF_DIR}/10-romana-bus.conflist"))
    ipam = {"type": "host-local", "subnet": "10.88.0.0/16", "dataDir": str(directory / "host-local"),
            "routes": [{"dst": "0.0.0.0/0"}]}  # fmt: skip
    peers = ours | {"name": "peer", "plugins": [{"type": "ptp", "ipam": ipam}, *ours["plugins"][1:]]}
    (directory / "10-ptp.conflist").write_text(json.dumps(peers))


def _report(ours: Runtime, peer: Runtime) -> Report:
    report = Report("Sandboxes by Debian's containerd (RunPodSandbox), portmap and bandwidth behind both")
    for percent in (50, 90):
        mine, others = _at(ours, percent), _at(peer, percent)
        ratio, promised = mine / others, percent == 50
        report.add(
            f"a sandbox, p{percent}", _ms(mine), f"ptp with host-local {_ms(others)}", times(ratio),
            "≤ 1×" if promised else "", ratio <= 1 if promised else None,
        )  # fmt: skip
    mine, others = median(ours.crowds), median(peer.crowds)
    report.add(
        f"{MANY} at once, median of {ROUNDS}", f"{mine:.2f} s", f"ptp with host-local {others:.2f} s",
        times(mine / others),
    )  # fmt: skip
    report.add(
        "... of them answer a ping, in the worst round", f"{ours.served} of {MANY}",
        f"ptp with host-local {peer.served} of {MANY}", "", str(MANY), ours.served == MANY,
    )  # fmt: skip
    return report


def _at(runtime: Runtime, percent: int) -> float:
    return sorted(runtime.seconds)[len(runtime.seconds) * percent // 100]


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def main() -> None:
    if os.geteuid() != 0:
        raise SystemExit("benchmarks runtimes: run it as root: it makes network namespaces")
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="romana-bench-")))
        site = stack.enter_context(Site(scratch / "site", hasty=False))
        pods = [site.pod(f"pod-{number}") for number in range(MANY)]
        site.node.until_folded(MANY)
        _peers_configuration(site, scratch / "peer.d")
        archive = image.build(scratch)
        runtimes = []
        for name, conf_dir in (("ours", CONF_DIR), ("peer", str(scratch / "peer.d"))):
            made = stack.enter_context(Containerd(site.machine, scratch / name, archive, conf_dir))
            runtimes.append(Runtime(site, stack.enter_context(made.cri())))
        for turn, runtime in itertools.product(range(WARM + CALLS), (0, 1)):
            runtimes[(turn + runtime) % 2].one(pods[turn % MANY], keep=turn >= WARM)
        for turn, runtime in itertools.product(range(ROUNDS), (0, 1)):
            runtimes[(turn + runtime) % 2].many(pods)
        report = _report(*runtimes)
    report.print()


if __name__ == "__main__":
    main()
