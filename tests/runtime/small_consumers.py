"""A decider and a reconciler so small that everything they do can be seen: every pod gets a number."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import Message, Outgoing, Position, Store
from romana_bus.events import (
    IPAM,
    KUBE,
    AddressAssigned,
    Event,
    LeaderElected,
    PodAddress,
    PodGone,
    PodSeen,
    codec,
)
from romana_bus.runtime.consumer import Decider, Reconciler
from romana_bus.runtime.feed import Read, outgoing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    Stores = Callable[..., AbstractAsyncContextManager[Store]]

both = pytest.mark.parametrize("stores", ["memory", "nats"], indirect=True)


@dataclass
class Numbers:
    pods: dict[str, int] = field(default_factory=dict)  # name -> sequence of its fact
    given: dict[str, int] = field(default_factory=dict)
    now: int = 0


def number_of(event: AddressAssigned) -> int:
    return int(event.addresses[0].address.rpartition(".")[2])


def evolve(state: Numbers, event: Event, seq: int) -> None:
    match event:
        case PodSeen():
            state.pods[event.name] = seq
        case PodGone():
            state.pods.pop(event.name, None)
        case AddressAssigned():
            state.given[event.name] = number_of(event)


def decide(state: Numbers) -> Iterator[list[tuple[Event, str]]]:
    while part := decide_some(state):
        yield part


def decide_some(state: Numbers) -> list[tuple[Event, str]]:
    decided: list[tuple[Event, str]] = []
    for name in sorted(state.pods.keys() - state.given.keys())[:7]:
        number = max(state.given.values(), default=0) + 1
        address = PodAddress(address=f"10.0.0.{number}", network="n", block="10.0.0.0/24")
        event = AddressAssigned(
            namespace="web", name=name, uid="u", node="n", tenant="web", addresses=(address,)
        )
        evolve(state, event, 0)
        decided.append((event, f"{KUBE}/{state.pods[name]}"))
    return decided


NUMBERS: Decider[Numbers] = Decider(
    name="numbers",
    writes=IPAM,
    reads=(Read(KUBE, "kube.pod.>"), Read(IPAM)),
    initial=Numbers,
    evolve=evolve,
    tick=lambda state, now: setattr(state, "now", now),
    decide=decide,
    wake=lambda state: None,
)


def seen(name: str, version: int = 1) -> Outgoing:
    event = PodSeen(resource_version=str(version), uid=f"u-{name}", namespace="web", name=name)
    return outgoing(event, "", 1, 3600)


async def say(store: Store, messages: Iterable[Outgoing]) -> None:
    await store.batch(KUBE, (await store.tail(KUBE)).last, list(messages))


async def everything(store: Store, role: str) -> list[Message]:
    """The whole log of a role."""
    messages: list[Message] = []
    wake, tail = asyncio.Event(), await store.tail(role)
    reading = store.follow(role, ">", Position(tail.epoch, 0, ""), wake, "test")
    while not messages or messages[-1].seq < tail.last:
        await wake.wait()
        wake.clear()
        messages += reading.take()
    await reading.close()
    return messages


async def events(store: Store, role: str = IPAM) -> list[Any]:
    return [codec.decode(message.body) for message in await everything(store, role)]


async def until_last(store: Store, role: str, seq: int) -> None:
    while (await store.tail(role)).last < seq:
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running(*coroutines: Any) -> AsyncIterator[list[asyncio.Task[None]]]:
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        yield tasks
        for task in tasks:
            assert not task.done() or task.cancelled(), task.exception()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def elections(store: Store) -> list[str]:
    return [event.holder for event in await events(store) if isinstance(event, LeaderElected)]


class World:
    """An outside that can fail."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.failing: list[str] = []
        self.looks: list[bool] = []
        self.slow = 0.0

    async def observe(self, state: Numbers, full: bool) -> set[str]:
        self.looks.append(full)
        await asyncio.sleep(self.slow if full else 0)
        return set(self.there)

    def has(self, count: int) -> bool:
        return len(self.there) == count

    async def apply(self, delta: tuple[set[str], set[str]]) -> int:
        if self.failing:
            raise OSError(self.failing.pop())
        add, remove = delta
        self.there = (self.there | add) - remove
        return len(add) + len(remove)


def plan(state: Numbers, actual: set[str]) -> tuple[set[str], set[str]] | None:
    add, remove = state.pods.keys() - actual, actual - state.pods.keys()
    return (add, remove) if add or remove else None


def reconciler(world: World, tick: float = 60.0) -> Reconciler[Numbers]:
    return Reconciler(
        name="world",
        node="n1",
        reads=(Read(KUBE, "kube.pod.>"),),
        initial=Numbers,
        evolve=evolve,
        observe=world.observe,
        plan=plan,
        apply=world.apply,
        standing=lambda state: {"pods": len(state.pods)},
        tick=tick,
    )
