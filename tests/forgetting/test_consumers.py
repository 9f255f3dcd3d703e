"""Names of pods, nodes, namespaces and groups that are gone leave memory, in every consumer: what it holds
after many lives is what it holds after a few."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import metrics
from romana_bus.bus import parts
from romana_bus.bus.jetstream import refusals
from romana_bus.cni.server.sandbox_requests import SandboxRequests
from romana_bus.consumers import pod_addresses
from romana_bus.events import HostRemoved
from romana_bus.ipam.fold import orders
from romana_bus.recent import Recent
from romana_bus.routing import Kernel
from romana_bus.runtime.parked import ParkedMessages
from tests.forgetting.agents import NodeRoutes, OwnPods, Sandboxes
from tests.forgetting.consumers import CONSUMERS, Ipam, Leader, Parking, Refused, Watcher
from tests.forgetting.lives import GONE, LIVES, Names
from tests.forgetting.object_graph import Holding, held, of_the_process
from tests.simulation.loop import VirtualLoop, run

if TYPE_CHECKING:
    import random
    from pathlib import Path

#: Lives before it is counted first.
FEW = 400
#: Objects that there may be more of than after those: newer times and larger numbers.
MORE = 60


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of these consumers blocks: seconds of the virtual loop are all that pass."""
    monkeypatch.setattr(os, "fsync", lambda _: None)
    monkeypatch.setattr(time, "monotonic", lambda: asyncio.get_running_loop().time())


def leaks(consumer: Any, directory: Path, lives: int) -> list[str]:
    """What it still holds of the gone, or too much, after so many lives."""

    async def main(_chance: random.Random) -> list[Holding]:
        played, counted = consumer(directory), []
        for numbers in (range(FEW), range(FEW, lives)):
            for number in numbers:
                await played.live(Names(number))
            for _ in range(8):
                await played.later(700.0)
            stores = filter(None, [getattr(played, "store", None)])
            counted.append(held(played.roots, GONE, (*stores, VirtualLoop)))
        return counted

    few, many = run(main, 1)
    more = many.objects - few.objects
    grown = [f"{more} objects more than after {FEW} lives"] if more > MORE else []
    return few.names + many.names + grown


@pytest.mark.parametrize("consumer", CONSUMERS, ids=lambda consumer: consumer.__name__)
def test_what_is_gone_leaves_memory(consumer: Any, tmp_path: Path) -> None:
    assert leaks(consumer, tmp_path, getattr(consumer, "lives", LIVES)) == []
    assert held(of_the_process(), GONE).names == []


# --- the test finds what is put back ------------------------------------------------------------------------


def _nothing(*_: object, **__: object) -> None: ...


#: Consumer, and what is replaced.
LEAKS: list[tuple[Any, Any, str, object]] = [
    (Ipam, Recent, "turn", _nothing),
    (Ipam, orders, "forget_settled", _nothing),
    (Watcher, Recent, "turn", _nothing),
    (NodeRoutes, Kernel, "forget_links", _nothing),
    (OwnPods, pod_addresses, "AddressReleased", HostRemoved),
    (Sandboxes, SandboxRequests, "forget_old", _nothing),
    (Leader, parts, "ENDED", 1e9),
    (Parking, ParkedMessages, "forget_old", _nothing),
    (Refused, refusals, "NAMED", 1000),
]


@pytest.mark.parametrize(
    ("consumer", "where", "name", "instead"), LEAKS, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_leak_is_found(
    consumer: Any, where: Any, name: str, instead: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(where, name, instead)
    assert leaks(consumer, tmp_path, 3 * FEW)


def test_a_label_of_a_metric_is_found() -> None:
    metrics.LEADER.labels(f"{GONE}node")
    try:
        assert held(of_the_process(), GONE).names
    finally:
        metrics.LEADER.remove(f"{GONE}node")
