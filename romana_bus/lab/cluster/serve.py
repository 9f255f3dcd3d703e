"""The lab's own services, in one process: `python -m romana_bus.lab.cluster.serve NAME`.

It runs the relay to NATS and the updates of the router's routes and, unless the lab's nodes belong to another
cluster, the small API server, the scheduler and the node lifecycle controller. When the API server is ready,
its URL is written to a file. Its objects are in memory only.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from romana_bus.lab.cluster.relay import listening, relayed
from romana_bus.lab.cluster.router import keep_routes
from romana_bus.lab.machine.directory import RELAY_PORT, Lab, write
from romana_bus.runtime.process.signals import run
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from contextlib import AsyncExitStack
    from pathlib import Path


async def _serve(name: str) -> None:
    lab = Lab.open(name)
    jobs: list[Coroutine[Any, Any, None]] = [keep_routes(lab)]
    async with contextlib.AsyncExitStack() as stack:
        gateways = [address for zone in lab.spec.zone_list for address in zone.gateways]
        sockets = listening(lab.spec.router, gateways, RELAY_PORT)
        await stack.enter_async_context(relayed(sockets, lambda: ("127.0.0.1", lab.nats().port)))
        if not lab.spec.kubeconfig:
            jobs += await _api_server(stack, lab)
        await until_one_ends(jobs)


async def _api_server(stack: AsyncExitStack, lab: Lab) -> list[Coroutine[Any, Any, None]]:
    """Start the API server; returns the jobs that depend on it."""
    from romana_bus.kubernetes.api import Api, Target
    from romana_bus.kubernetes.client import KubeClient
    from romana_bus.lab.cluster.node_lifecycle import watch_nodes
    from romana_bus.lab.kubeapi.server import ApiServer
    from romana_bus.lab.kubelet import pods
    from romana_bus.lab.kubelet.containers import log_file
    from romana_bus.lab.scheduler.scheduler import Scheduler

    def log(pod: dict[str, Any], container: str) -> Path | None:
        on = pod["spec"].get("nodeName")  # of the lab, or what somebody wrote into a pod
        known = on in {node.name for node in lab.spec.nodes} and pods.with_command(pod)
        names = {each["name"] for each in known or ()}
        return log_file(lab.node(on), pods.uid(pod), container) if container in names else None

    api = ApiServer(graceful=True, admission=True, log_file=log)
    server = await stack.enter_async_context(api)
    write(lab.directory / "server", server.url)
    client = KubeClient(await stack.enter_async_context(Api(Target(server=server.url))))
    return [Scheduler(client).run(), watch_nodes(client)]


if __name__ == "__main__":
    sys.exit(run(_serve(sys.argv[1])))
