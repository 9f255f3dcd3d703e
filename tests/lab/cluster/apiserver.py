"""A cluster that is not the lab's: an API server with a scheduler, as a process of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from romana_bus.kubernetes.api import Api, Target
from romana_bus.kubernetes.client import KubeClient
from romana_bus.kubernetes.kubeconfig import kubeconfig
from romana_bus.lab.kubeapi.server import ApiServer
from romana_bus.lab.machine.directory import write
from romana_bus.lab.scheduler.scheduler import Scheduler


async def _serve(file: Path) -> None:
    async with ApiServer(graceful=True, admission=True) as server, Api(Target(server=server.url)) as api:
        write(file, kubeconfig(server.url))
        await Scheduler(KubeClient(api)).run()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
