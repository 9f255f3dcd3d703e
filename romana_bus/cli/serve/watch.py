"""`romana-bus watch`: publishes what the API server shows as events on the log."""

from __future__ import annotations

import contextlib

from romana_bus.bus.auth.permissions import WATCH
from romana_bus.bus.connect import open_store
from romana_bus.cli.common.audits import Audits
from romana_bus.cli.common.options import Kubernetes, Serving, Store, holder
from romana_bus.cli.common.session import run
from romana_bus.errors import BadInput
from romana_bus.events import ROLES
from romana_bus.producers.kubernetes.objects import BUILT_IN, Kind, other_kind
from romana_bus.runtime.health import Health, served
from romana_bus.runtime.store_watch import watched_store


def watch(
    *,
    kubernetes: Kubernetes = Kubernetes(),
    audits: Audits = Audits(),
    store: Store = Store(),
    output: Serving = Serving(),
) -> None:
    """Watch a cluster's nodes, pods, namespaces and network policies, and publish them on the log.

    Any number may run: one leads and watches, the others stand by. The leader
    also audits: it compares the log with the API server regularly, and orders
    corrections of what differs."""
    audits.checked()
    run(_watch(kubernetes, audits, store, output), output)


async def _watch(kubernetes: Kubernetes, audits: Audits, store: Store, output: Serving) -> None:
    from romana_bus.kubernetes.api import Api
    from romana_bus.producers.kubernetes.watcher import refuse_forbidden, refuse_unwatchable, run_watcher

    kinds, health = all_kinds(kubernetes), Health()
    async with contextlib.AsyncExitStack() as stack:
        api = await stack.enter_async_context(Api(kubernetes.target))
        await refuse_forbidden(api, kinds)
        await refuse_unwatchable(api, kinds[len(BUILT_IN) :])
        opened = await stack.enter_async_context(
            await open_store(store.access, store.layout, "watch", ROLES, who=WATCH)
        )
        health.watch(opened)
        await stack.enter_async_context(watched_store(opened, health))
        await stack.enter_async_context(served(output.listen, health))
        await run_watcher(opened, api, holder(), kinds, health=health, beside=audits.beside(opened, api))


def all_kinds(kubernetes: Kubernetes) -> list[Kind]:
    """The built-in kinds, and those of --resource. Raises BadInput."""
    kinds = list(BUILT_IN)
    for text in kubernetes.resource:
        name, _, paths = text.partition(":")
        parts = name.split("/")
        if len(parts) != 3 or not all(parts):
            raise BadInput(
                f"--resource {text}: write GROUP/VERSION/PLURAL, such as apps/v1/deployments or "
                "core/v1/services, and ':' with fields if only these are needed"
            )
        group, version, plural = parts
        kind = other_kind(
            "" if group == "core" else group, version, plural, paths.split(",") if paths else ()
        )
        if any(kind.path == other.path for other in kinds):
            raise BadInput(f"--resource {text}: watched already: leave this option out")
        kinds.append(kind)
    return kinds
