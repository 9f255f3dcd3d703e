"""The same of whole processes, with their loops: a watcher, deciders, and the consumers of agents, in the
simulated cluster. What their tasks hold is looked at, down to the variables of their coroutines."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import structlog

from romana_bus.events.base import SECOND
from romana_bus.ipam import State
from romana_bus.runtime.reports import Reports
from tests.forgetting.lives import GONE
from tests.forgetting.object_graph import Holding, held, of_the_process
from tests.simulation.kube import Kube
from tests.simulation.log.server import Server
from tests.simulation.loop import VirtualLoop, run
from tests.simulation.machine import Machine
from tests.simulation.site import ZONE, Site

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

#: Pods of a generation; and seconds until what is gone is forgotten.
PODS, QUIET = 12, 1500.0


@pytest.fixture(autouse=True)
def brief_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """The order in which blocks were released counts for a minute instead of an hour."""
    monkeypatch.setattr(State.__init__, "__defaults__", (None, 60 * SECOND))


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """The simulation's log lines belong to simulated processes."""
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def built(chance: random.Random) -> Site:
    site = Site(chance)
    site.control += [site.process("watch0", site._watch)]
    site.control += [site.process(f"ipam{number}", site._ipam) for number in range(2)]
    for number in range(2):
        site.add_machine(number)
    return site


async def generation(site: Site, number: int) -> None:
    """Pods come and go, and a node with two of them that never start."""
    node, kube = f"{GONE}node{number}", site.kube
    kube.put("nodes", node, {
        "metadata": {"name": node, "uid": f"uid-{node}", "labels": {ZONE: "a"}},
        "status": {"addresses": [{"type": "InternalIP", "address": f"10.99.0.{number + 100}"}]},
    })  # fmt: skip
    nodes, keys = [*site.machines, *site.machines, node], []
    for place in range(PODS):
        namespace, name = f"{GONE}ns{number}", f"{GONE}pod{place}"
        keys.append(f"{namespace}/{name}")
        kube.put("pods", keys[-1], {
            "metadata": {"namespace": namespace, "name": name, "uid": f"{GONE}uid{number}-{place}"},
            "spec": {"nodeName": nodes[place % len(nodes)]},
            "status": {"phase": "Pending"},
        })  # fmt: skip
    await asyncio.sleep(5.0)
    assert any(machine.running for machine in site.machines.values())
    for key in keys:
        kube.delete("pods", key)
        await asyncio.sleep(0.3)
    kube.delete("nodes", node)
    await asyncio.sleep(5.0)


def of_all_processes(site: Site) -> Holding:
    roots: list[object] = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for machine in site.machines.values():
        roots += [machine.addresses, machine.world.state]
    return held(roots, GONE, (Site, Kube, Server, Machine, VirtualLoop))


async def after(chance: random.Random, generations: int) -> Holding:
    site = built(chance)
    await asyncio.sleep(5.0)
    for number in range(generations):
        await generation(site, number)
    assert of_all_processes(site).names, "of what has just gone, something is known yet"
    await asyncio.sleep(QUIET)
    assert not site.violations
    return of_all_processes(site)


def test_processes_forget_what_is_gone() -> None:
    few, many = (run(lambda chance, times=times: after(chance, times), 1) for times in (1, 6))  # type: ignore[misc]
    assert few.names == many.names == []
    assert many.objects <= few.objects * 1.1
    assert held(of_the_process(), GONE).names == []


def test_what_a_loop_keeps_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reconciler's report that keeps the causes of its changes, for example."""
    plain = Reports.applied

    def applied(self: Reports, *arguments: object, **more: object) -> None:
        self.__dict__.setdefault("kept", []).append(f"{GONE}{len(vars(self))}")
        plain(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Reports, "applied", applied)
    assert run(lambda chance: after(chance, 1), 1).names
