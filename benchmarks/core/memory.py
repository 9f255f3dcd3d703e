"""The memory of a live address, measured in a process of its own: `python -m benchmarks.core.memory`."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from uuid import UUID

import msgspec

from benchmarks.core.cluster import BATCH, LARGE, decisions_on, decoded, empty, seen_pod
from romana_bus.events import AddressAssigned, PodSeen


def resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def bytes_per_address() -> float:
    """In a process of its own: what it has more with all pods than with none."""
    said = subprocess.run(
        [sys.executable, "-m", "benchmarks.core.memory"], check=True, stdout=subprocess.PIPE
    )
    return float(said.stdout)


def print_memory() -> None:
    """Pods come a batch at a time; once they have addresses, they report them."""
    state, chance = empty(LARGE), Random(1)
    before = resident()
    for at in range(0, LARGE.pods, BATCH):
        batch = [_deployed(number, chance) for number in range(at, at + BATCH)]
        given = {
            decision.event.uid: decision.event.addresses[0].address
            for decision in decisions_on(state, batch)
            if isinstance(decision.event, AddressAssigned)
        }
        decisions_on(state, [_running(one, given[one.uid]) for one in batch])
    del batch, given
    held = sum(record.block is not None for host in state.hosts.values() for record in host.records.values())
    assert held == LARGE.pods
    print((resident() - before) / held)


def _deployed(number: int, chance: Random) -> PodSeen:
    """A Deployment's pod in an old cluster: a name of 31 letters, a uid that looks like no other, and a
    resource version that has grown."""
    ending = "".join(chance.choices("bcdfghjklmnpqrstvwxz2456789", k=15))
    return decoded(
        msgspec.structs.replace(
            seen_pod(number, LARGE),
            namespace=f"team-{number % 50}",
            name=f"checkout-{number % 997:05}-{ending[:10]}-{ending[10:]}",
            uid=str(UUID(int=chance.getrandbits(128), version=4)),
            phase="Pending",
            resource_version=str(10**9 + number),
        )
    )


def _running(seen: PodSeen, address: str) -> PodSeen:
    version = str(int(seen.resource_version) + LARGE.pods)
    return decoded(msgspec.structs.replace(seen, phase="Running", ips=(address,), resource_version=version))


if __name__ == "__main__":
    print_memory()
