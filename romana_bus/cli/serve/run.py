"""`romana-bus run`: runs consumers, on any machine that can reach the log."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.auth.permissions import DECIDE
from romana_bus.bus.connect import open_store
from romana_bus.cli.common.options import Addresses, Serving, Store, holder
from romana_bus.cli.common.session import run as run_session
from romana_bus.consumers import ipam
from romana_bus.consumers.ipam_metrics import measured
from romana_bus.errors import BadInput
from romana_bus.events import ROLES
from romana_bus.runtime.health import Health, served
from romana_bus.runtime.loop import run_decider
from romana_bus.runtime.store_watch import watched_store
from romana_bus.tasks import until_one_ends


async def _run_ipam(store: OpenStore, addresses: Addresses, health: Health) -> None:
    with measured(ipam.decider(addresses.settings, addresses.given)) as decider:
        await run_decider(store, decider, holder(), health)


#: The consumers by name.
CONSUMERS: dict[str, Callable[[OpenStore, Addresses, Health], Awaitable[Any]]] = {"ipam": _run_ipam}


def run(
    *consumer: str,
    addresses: Addresses = Addresses(),
    store: Store = Store(),
    output: Serving = Serving(),
) -> None:
    """Run one or more consumers of the log in one process, until stopped.

    Any number of replicas may run: one is the leader, the others are standbys, and take over within seconds.

    Parameters
    ----------
    consumer
        ipam: places nodes in the topology, and assigns addresses to pods.
    """
    if unknown := [name for name in consumer if name not in CONSUMERS]:
        raise BadInput(f"there is no consumer {', '.join(unknown)}: name one of {', '.join(CONSUMERS)}")
    if not consumer:
        raise BadInput(f"no consumer is named: write, for example, romana-bus run {next(iter(CONSUMERS))}")
    addresses.settings  # noqa: B018  raises BadInput before anything is started
    run_session(_run(dict.fromkeys(consumer), addresses, store, output), output)


async def _run(consumers: dict[str, None], addresses: Addresses, store: Store, output: Serving) -> None:
    health, name = Health(), f"run {' '.join(consumers)}"
    async with contextlib.AsyncExitStack() as stack:
        opened = await stack.enter_async_context(
            await open_store(store.access, store.layout, name, ROLES, who=DECIDE)
        )
        health.watch(opened)
        await stack.enter_async_context(watched_store(opened, health))
        await stack.enter_async_context(served(output.listen, health))
        await until_one_ends([CONSUMERS[name](opened, addresses, health) for name in consumers])  # type: ignore[misc]
