"""A node's routes in a namespace, reconciled with a store, and what tests ask of it."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from romana_bus.consumers import routes
from romana_bus.events import IPAM
from romana_bus.netlink.node_network import Reached
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.reconcile import run_reconciler
from tests.kernel import BLOCKS, gateways
from tests.runtime.small_consumers import running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from romana_bus.bus.api import Store
    from romana_bus.events import Event
    from tests.netns import Namespace


async def say(store: Store, *events: Event) -> None:
    messages = [outgoing(event, "", 1, 3600) for event in events]
    await store.batch(IPAM, (await store.tail(IPAM)).last, messages)


@contextlib.asynccontextmanager
async def opened(
    node: Namespace, objects: bool | None = None, reached: Callable[[], Reached] = Reached
) -> AsyncIterator[routes.Routes]:
    async with contextlib.AsyncExitStack() as stack:
        with node.entered():
            kernel = await stack.enter_async_context(routes.opened("me", reached, objects=objects))
        yield kernel


@contextlib.asynccontextmanager
async def reconciled(
    node: Namespace, store: Store, objects: bool | None = None, reached: Callable[[], Reached] = Reached
) -> AsyncIterator[routes.Routes]:
    async with opened(node, objects, reached) as kernel, running(run_reconciler(store, kernel.reconciler())):
        yield kernel


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def ways(node: Namespace) -> dict[str, str]:
    """Prefix -> gateway, of the routes of ours that lead anywhere."""
    return gateways(node.routes(BLOCKS))


TO_YOU = {"10.1.0.16/28": "10.99.0.2", "10.1.1.0/28": "10.99.0.2", "fd01::10/124": "fd99::2"}
