"""Publishing without a fence, over every store."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import Outgoing, Position, Refused, Store, Unavailable
from romana_bus.bus.writing.publish import Publisher
from romana_bus.events import NODE
from tests.contract.test_store import follow, out
from tests.identities import ADMINISTRATOR

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    Stores = Callable[..., AbstractAsyncContextManager[Store]]


class Lossy:
    """A store that loses requests and answers of single publishes."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store, self._chance = store, chance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
        fate = self._chance.random()
        if fate < 0.2:
            raise Unavailable("the request was lost")
        stored = await self._store.publish(role, message, expected)
        if fate < 0.4:
            raise Unavailable("the answer was lost")
        return stored


@pytest.mark.parametrize("seed", range(3))
async def test_each_subject_keeps_its_order_and_each_message_is_stored_once(
    stores: Stores, seed: int
) -> None:
    async with stores(ADMINISTRATOR) as store:  # all nodes are its
        publisher = Publisher(Lossy(store, random.Random(seed)), NODE)
        for number in range(10):
            for node in range(10):
                await publisher.put(out(f"node.n{node}.routes", f"{node}:{number}"))
        await publisher.flush()
        await publisher.close()
        tail = await store.tail(NODE)
        stored = await follow(store, NODE, Position(tail.epoch, 0, ""), 100)
        assert tail.last == 100
        for node in range(10):
            mine = [m.body.decode() for m in stored if m.subject == f"node.n{node}.routes"]
            assert mine == [f"{node}:{number}" for number in range(10)]


async def test_refused_message_is_an_error_for_its_sender(stores: Stores) -> None:
    async with stores() as store:

        class Refusing(Lossy):
            async def publish(self, role: str, message: Outgoing, expected: int | None = None) -> int:
                raise Refused("message size exceeds maximum allowed (error 10054)")

        publisher = Publisher(Refusing(store, random.Random(0)), NODE)
        await publisher.put(out("node.n1.routes"))
        with pytest.raises(Refused, match="maximum"):
            await publisher.flush()
        await publisher.close()
