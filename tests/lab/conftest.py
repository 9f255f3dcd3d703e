"""A unique lab name; nothing is left of the lab afterwards, however the test ends."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.lab.cluster import down
from romana_bus.lab.machine.directory import ROOT
from romana_bus.lab.spec import Spec
from tests.cli.processes import Home
from tests.lab.cluster.lab import Commands

if TYPE_CHECKING:
    from collections.abc import Iterator

DEBIAN_PLUGINS = Path("/usr/lib/cni")

needs_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None,
    reason="network namespaces need Linux, root and iproute2",
)
needs_plugins = pytest.mark.skipif(
    not (DEBIAN_PLUGINS / "ptp").exists(), reason="needs Debian's containernetworking-plugins"
)


@pytest.fixture
def lab() -> Iterator[Spec]:
    name = f"t{secrets.token_hex(4)}"
    yield Spec(name=name)
    down.down(name)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Commands]:
    """A lab that is up for all tests of a module: two zones, two nodes in each."""
    home = Home(tmp_path_factory.mktemp("home"))
    run = Commands(home, Spec(name=f"t{secrets.token_hex(4)}"))
    try:
        run.up()
        yield run
    finally:
        down.down(run.spec.name)


@pytest.fixture
def shared(standing: Commands) -> Iterator[Commands]:
    """The standing lab, without the pods of this test afterwards."""
    yield standing
    for manifest in (ROOT / standing.spec.name).glob("nodes/*/manifests/*"):
        manifest.unlink()
    standing("start")
    standing("pod", "delete", "--all")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def conflist(tmp_path: Path) -> Path:
    """CNI with what Debian has: pods reach others on their node."""
    path = tmp_path / "10-ptp.conflist"
    path.write_bytes(msgspec.json.encode(ptp(tmp_path)))
    return path


def ptp(directory: Path, version: str = "1.0.0") -> dict[str, object]:
    addresses = {
        "type": "host-local",
        "dataDir": str(directory / "host-local"),
        "ranges": [[{"subnet": "10.20.0.0/24"}]],
        "routes": [{"dst": "0.0.0.0/0"}],
    }
    return {
        "cniVersion": version,
        "name": "ptp",
        "plugins": [
            {"type": "ptp", "mtu": 1400, "ipam": addresses},
            {"type": "tuning", "mtu": 1300},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
