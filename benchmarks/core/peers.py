"""The peers of the allocator: a pool in memory by netaddr, and the CNI plugin `host-local`."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from netaddr import IPAddress, IPSet

from romana_bus.inet import format_address

if TYPE_CHECKING:
    from collections.abc import Callable

HOST_LOCAL = Path("/usr/lib/cni/host-local")


def netaddr_pool(live: int) -> Callable[[], float]:
    """The lowest free address of a set of networks; its `remove` and `add` keep the set compact."""
    free = IPSet(["10.0.0.0/8"]) - IPSet(_covering(live))

    def once() -> float:
        count = 300
        began = time.perf_counter()
        for _ in range(count):
            address: IPAddress = next(iter(free))
            free.remove(address)
            free.add(address)
        return count / (time.perf_counter() - began)

    return once


def _covering(count: int) -> list[str]:
    """The first `count` addresses of 10.0.0.0/8 as networks."""
    networks, at = [], 10 << 24
    for bit in reversed(range(count.bit_length())):
        if count >> bit & 1:
            networks.append(f"{format_address(32, at)}/{32 - bit}")
            at += 1 << bit
    return networks


def host_local(live: int) -> Callable[[], float]:
    """ADD and DEL, each a process, with `live` addresses on its disk already."""
    folder = tempfile.TemporaryDirectory(prefix="host-local-")
    ranges = [[{"subnet": "10.0.0.0/16"}]]
    network = {"type": "host-local", "ranges": ranges, "dataDir": folder.name}
    config = json.dumps({"cniVersion": "1.0.0", "name": "bench", "type": "ptp", "ipam": network}).encode()
    directory = Path(folder.name) / "bench"
    directory.mkdir()
    for at in range(2, live + 2):
        (directory / format_address(32, (10 << 24) + at)).write_text(f"live-{at}\r\neth0")
    environment = {"CNI_NETNS": "/proc/self/ns/net", "CNI_IFNAME": "eth0", "CNI_PATH": str(HOST_LOCAL.parent)}

    def call(command: str, container: str) -> None:
        subprocess.run(
            [HOST_LOCAL],
            input=config,
            env={**environment, "CNI_COMMAND": command, "CNI_CONTAINERID": container},
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def once() -> float:
        assert folder.name
        began = time.perf_counter()
        for at in range(100):
            call("ADD", f"pod-{at}")
            call("DEL", f"pod-{at}")
        return 100 / (time.perf_counter() - began)

    return once
