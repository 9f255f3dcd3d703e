"""Hostile bytes for real processes: none ends, none loses its head, and what is stays what it was.

`ROMANA_FUZZ_ROUNDS` rounds from `ROMANA_FUZZ_SEED` on; `make fuzz` goes on for SECONDS, from a seed that it
prints. The same seed and number of rounds send the same bytes again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from romana_bus.events import IPAM, KUBE, NODE, SPEC
from tests.cli.processes import ROMANA_BUS
from tests.cni.calling import until
from tests.conftest import run
from tests.fuzz.attack import attack
from tests.fuzz.hostile_messages import Sent
from tests.fuzz.plain_client import PlainClient
from tests.fuzz.site import CLUSTER, WITHIN, Site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fuzz.standing import Standing

SEED = int(os.environ.get("ROMANA_FUZZ_SEED", "10"))
ROUNDS = int(os.environ.get("ROMANA_FUZZ_ROUNDS", "1"))
SECONDS = float(os.environ.get("ROMANA_FUZZ_SECONDS", "0"))

#: What people look with; `@`: the API server.
COMMANDS = (
    "status", "status --json", "ipam show", "ipam show --json", "ipam check --server @", "topology show",
    "events tail --no-follow --last 500", "events tail --no-follow --last 500 --json",
)  # fmt: skip


def test_nothing_ends_and_nothing_is_lost(tmp_path: Path) -> None:
    until_time = time.monotonic() + SECONDS
    with Site(tmp_path) as site:
        print("started")
        before, added, done = site.stands(), set[str](), 0
        try:
            while done < ROUNDS or time.monotonic() < until_time:
                attack(site, SEED + done)
                done += 1
                all_is_as_it_was(site, before, added)
        except BaseException:
            print(f"again: make fuzz SEED={SEED} ROUNDS={done} SECONDS=0")  # noqa: T201
            raise


def all_is_as_it_was(site: Site, before: Standing, added: set[str]) -> None:
    """`added`: pods that came afterwards; this adds some."""
    t = time.monotonic()
    looked_at(site)
    print("looked", time.monotonic() - t)
    site.until_ready()
    print("ready", time.monotonic() - t)
    stands_as(site, before, added)
    print("stands", time.monotonic() - t)
    parked_messages_are_named(site)
    print("named", time.monotonic() - t)
    new = [site.pod(node) for node in site.nodes]
    added |= {f"web/{pod}" for pod in new}
    site.until_ready()
    print("ready", time.monotonic() - t)
    if site.node:
        site.wired(new[-1])
    print("wired", time.monotonic() - t)
    stands_as(site, before, added)
    looked_at(site)
    print("looked", time.monotonic() - t)
    assert not site.ended(), site.words()
    assert not (said := site.tracebacks()), "\n".join(said[:5])


def stands_as(site: Site, before: Standing, added: set[str]) -> None:
    """Soon: it may have to be told anew."""

    def difference() -> str:
        now = site.stands().without(added)
        return "\n".join(f"{was}\nis now\n{one}" for was, one in zip(before, now, strict=True) if was != one)

    until(lambda: not difference(), "all is as it was", lambda: f"{site.words()}\n{difference()}", WITHIN)


def looked_at(site: Site) -> None:
    """Everything that people look with says something, and ends by itself."""
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda line: command(site, *line.split()), COMMANDS))
    for line, one in zip(COMMANDS, done, strict=True):
        assert b"Traceback" not in one.stderr, f"{line}: {one.stderr.decode()[-3000:]}"
        assert one.returncode == 0 or (line.startswith("ipam check") and one.returncode == 1), (
            line,
            one.stderr[-2000:],
        )
        assert one.stdout, line


def command(site: Site, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    words = [site.api.server.url if word == "@" else word for word in arguments]
    line = [ROMANA_BUS, *words, "--nats", site.nats.url, "--cluster", CLUSTER]
    return subprocess.run(line, capture_output=True, timeout=60, check=False)


MARKS = {
    SPEC: b"spec.reserve.marked", KUBE: b"kube.pod.marked.marked", IPAM: b"ipam.map.block.marked.marked",
    NODE: b"node.marked.cni.marked.marked",
}  # fmt: skip


def parked_messages_are_named(site: Site) -> None:
    """`status` gives stream and number of what cannot be used."""
    with PlainClient(site.nats.port, f"romana.{CLUSTER}.") as client:
        for subject in MARKS.values():
            client.send(Sent(subject, b"", b'{"type":"PodSeen","x":' + b"[" * 3000))
        client.flush()
    marks: set[tuple[str, int]] = set()

    async def look() -> None:
        async with await site.opened() as store:
            for role, subject in MARKS.items():
                found = await store.newest(role, subject.decode())
                assert found is not None, role
                marks.add((role, found.seq))

    run(look())
    shown: list[Any] = []

    def named() -> bool:
        import json

        shown[:] = json.loads(command(site, "status", "--json").stdout)["flaws"]["parked"]
        return marks <= {(one["stream"], one["seq"]) for one in shown}

    until(named, f"status names {marks}", lambda: f"{shown[-5:]}\n{site.words()}", WITHIN)


_ = sys
