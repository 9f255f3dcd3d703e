"""A node's kubelet in the lab, as a process: `python -m romana_bus.cli.lab.kubelet LAB NODE`.

It runs in the machine's own network namespace, where the API server is. The CNI plugins that it calls run in
the node's namespace.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from romana_bus.errors import Failed
from romana_bus.kubernetes.api import Api, Target
from romana_bus.kubernetes.client import KubeClient
from romana_bus.lab.cluster import power, services
from romana_bus.lab.kubelet.kubelet import Kubelet
from romana_bus.lab.kubelet.libcni import Plugins
from romana_bus.lab.kubelet.node import Identity
from romana_bus.lab.kubelet.sandboxes import Ground, Sandboxes
from romana_bus.lab.machine import processes
from romana_bus.lab.machine.directory import Lab
from romana_bus.lab.spec import labels
from romana_bus.runtime.process.signals import run

#: Directories that are searched for plugins after the lab's own: the usual one, and Debian's.
PLUGINS = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))


@contextlib.asynccontextmanager
async def client_of(lab: Lab) -> AsyncIterator[KubeClient]:
    """A client of the API server that the lab's nodes are registered at. Raises RomanaError."""
    if lab.spec.kubeconfig:
        target = Target(kubeconfig=Path(lab.spec.kubeconfig))
    elif processes.alive(lab, services.SERVE):
        target = Target(server=lab.facts.server)
    else:
        raise Failed(power.what_to_do(lab))
    async with Api(target) as api:
        yield KubeClient(api)


async def _serve(lab_name: str, name: str) -> None:
    lab = Lab.open(lab_name)
    node = lab.spec.node(name)
    directory = lab.node(name)
    ground = Ground(lab.spec.namespace(name), node.addresses, directory, directory / "net.d")
    search = (directory / "bin", *PLUGINS)
    sandboxes = Sandboxes(ground, Plugins(search, directory / "cni", ground.netns))
    async with client_of(lab) as client:
        machine = os.uname()
        identity = Identity(name, node.addresses, labels(node), machine.release, machine.machine)
        await Kubelet(client, identity, sandboxes).run()


if __name__ == "__main__":
    sys.exit(run(_serve(*sys.argv[1:3])))
