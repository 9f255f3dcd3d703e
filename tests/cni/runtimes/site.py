"""A cluster of one node for container runtimes: NATS, an API server with the node, its watcher and IPAM, and
the node's agent; its CNI directories are as `romana-bus agent install-cni` writes them.

    with Site(directory) as site, Containerd(site.machine, directory / "c", archive) as containerd: ...
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

from romana_bus.lab.kubeapi.resources import PODS
from tests.chaos.processes import Process
from tests.cli.api import ApiThread
from tests.cni.calling import PLUGINS, pings, until
from tests.cni.node import ROMANA_BUS, Governed, Reachable
from tests.cni.runtimes.cri import Sandbox
from tests.cni.runtimes.machine import BIN_DIR, CONF_DIR, Machine
from tests.identities import log_options

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

NETWORKS = ("--network", "10.99.0.0/20", "--cooldown", "0")
_clusters = itertools.count(1)


class Site:
    """`hasty`: its agent holds nothing back, or an address would return two minutes after a kill, since the
    kubelet may retry."""

    def __init__(self, directory: Path, *, hasty: bool = True) -> None:
        self.nats = Reachable(directory / "nats")
        self.node = Governed(directory / "n", self.nats, f"runtimes{next(_clusters)}")
        self.node.hasty = hasty
        self.machine = Machine(self.node.netns, PLUGINS)
        self.api = ApiThread()
        self._log = log_options(self.nats.url, self.node.cluster)
        self._up = Process(
            directory, "up", "romana_bus", "up", "--server", "URL", "--plain", *NETWORKS, *self._log
        )
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            stack.enter_context(self.nats)
            stack.enter_context(self.api)
            stack.enter_context(self.node)
            stack.enter_context(self.machine)
            self.api.node(self.node.name, "a", self.node.address)
            self._up.command = tuple(word.replace("URL", self.api.server.url) for word in self._up.command)
            stack.callback(self._up.end)
            self._up.start()
            self.install_cni()
            stack.callback(self.node.stop)
            self.start_agent()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def install_cni(self) -> str:
        options = ("--bin-dir", BIN_DIR, "--conf-dir", CONF_DIR, "--run-dir", self.node.run_dir)
        return self.machine.run(ROMANA_BUS, "agent", "install-cni", *options)

    def pod(self, name: str) -> Sandbox:
        """Of a pod that the API shows, so that its address is decided before it starts."""
        self.api.pod(name, self.node.name, "default")
        shown = json.loads(self.api.do(lambda: self.api.server.store.get(PODS, PODS.key("default", name))))
        return Sandbox(name, shown["metadata"]["uid"], self.machine.cgroup)

    # --- the agent --------------------------------------------------------------------------------------

    def start_agent(self) -> None:
        with self.machine.processes():
            self.node.start(behind=self.machine.entering)
        self.node.until_synced()

    # --- what is looked at ------------------------------------------------------------------------------

    def unreachable(self, addresses: Iterable[str]) -> set[str]:
        """Those of the addresses that answer no ping from the node."""
        with ThreadPoolExecutor(4) as threads:
            answers = threads.map(lambda address: (address, pings(self.node.netns, address)), addresses)
            return {address for address, answered in answers if not answered}

    def answer(self, port: int) -> str:
        """What a program at a port of the node says to a caller from elsewhere; '' if there is none."""
        try:
            with socket.create_connection((self.node.address, port), 20) as caller:
                return caller.recv(65).rstrip(b"\0").decode()
        except ConnectionError:
            return ""

    def until_answered(self, port: int) -> str:
        """Its program may be starting."""
        return str(until(lambda: self.answer(port), f"port {port} is answered", self.node.log))

    def left(self) -> dict[str, Any]:
        """What the node and the log have of sandboxes; {} if nothing."""
        found: dict[str, Any] = {
            "attachments": self.node.attached(),
            "routes": self.node.routes(),
            "links": set(self.node.links()) - {"lo", "eth0"},
        }
        if not any(found.values()):
            found = {"held": self.held()}
        return {what: value for what, value in found.items() if value}

    def held(self) -> list[Any]:
        """The addresses that are assigned, by IPAM's word."""
        line = [ROMANA_BUS, "ipam", "show", "--host", self.node.name, "--json", *self._log]
        said = subprocess.run(line, capture_output=True, check=True, text=True, env=dict(os.environ)).stdout
        return list(json.loads(said)["pods"])

    def until_nothing_is_left(self) -> None:
        until(lambda: not self.left(), "nothing is left", lambda: f"{self.node.log()}\n{self.left()}")
