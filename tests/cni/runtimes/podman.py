"""Debian's podman with its CNI backend. Its directories are the usual ones, which are only the machine's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.cni.runtimes import image
from tests.cni.runtimes.machine import BIN_DIR, CONF_DIR

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cni.runtimes.machine import Machine

_CONFIG = f"""
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
runtime = "runc"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{BIN_DIR}"]
network_config_dir = "{CONF_DIR}"
default_network = "romana-bus"
"""


class Podman:
    def __init__(self, machine: Machine, directory: Path, archive: Path) -> None:
        self._machine, self._directory = machine, directory
        directory.mkdir()
        (directory / "containers.conf").write_text(_CONFIG)
        self("load", "--quiet", "--input", archive)

    def __call__(self, *arguments: str | Path) -> str:
        """The output of a command."""
        config = f"CONTAINERS_CONF={self._directory / 'containers.conf'}"
        return self._machine.run("env", config, "podman", "--storage-driver", "vfs", *arguments)

    def start(self, name: str, *options: str) -> None:
        """A new container in the background."""
        parent = self._machine.cgroup
        self("run", "--detach", "--name", name, "--cgroup-parent", parent, *options, image.NAME)

    def address(self, name: str) -> str:
        """A container's, as `podman inspect` shows it."""
        (shown,) = json.loads(self("inspect", name))
        networks: dict[str, Any] = shown["NetworkSettings"]["Networks"]
        (network,) = networks.values()
        return str(network["IPAddress"])
