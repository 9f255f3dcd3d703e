"""The routes of one node as a process: `python -m tests.consumers.agent NAMESPACE URL CREDS CLUSTER NODE`.

Its connection to NATS is made where it was started, its netlink sockets in the namespace. It prints a line
when it has begun, and goes on until it is killed."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import uvloop

from romana_bus.bus.auth.permissions import agent_of
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.consumers import routes
from romana_bus.events import IPAM, NODE
from romana_bus.runtime.reconcile import run_reconciler
from tests.netns import Namespace


async def main(namespace: str, url: str, creds: str, cluster: str, node: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        with Namespace(namespace).entered():
            kernel = await stack.enter_async_context(routes.opened(node))
        opening = open_store(
            Access(servers=(url,), creds=Path(creds)), Layout(cluster), node, (IPAM, NODE),
            who=agent_of(node), creates=False, live=True,
        )  # fmt: skip
        store = await stack.enter_async_context(await opening)
        print("begun", flush=True)  # noqa: T201  it is a process of its own
        await run_reconciler(store, kernel.reconciler())


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
