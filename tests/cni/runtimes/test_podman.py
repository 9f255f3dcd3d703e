"""Debian's podman calls romana-cni through its CNI backend, with the file that `install-cni` writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.cni.spec import CONTAINERS
from tests.cni.runtimes import image
from tests.cni.runtimes.podman import Podman

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cni.runtimes.site import Site


@pytest.fixture
def podman(site: Site, archive: Path, tmp_path: Path) -> Iterator[Podman]:
    podman = Podman(site.machine, tmp_path / "p", archive)
    yield podman
    podman("rm", "--all", "--force", "--time", "0")
    site.until_nothing_is_left()


def test_containers_have_our_addresses(site: Site, podman: Podman) -> None:
    for name in ("web", "db"):
        podman.start(name)
    addresses = [podman.address(name) for name in ("web", "db")]
    held = {each["name"]: each for each in site.held()}
    assert [held[name]["addresses"] for name in ("web", "db")] == [[address] for address in addresses]
    assert {each["namespace"] for each in held.values()} == {CONTAINERS}
    assert site.unreachable(addresses) == set()

    podman("rm", "--force", "--time", "0", "db")
    assert site.unreachable([podman.address("web")]) == set()
    assert [each.container for each in site.node.attached()] == [held["web"]["uid"]]


def test_a_published_port_and_a_restart(site: Site, podman: Podman) -> None:
    port = f"30081:{image.PORT}"
    podman.start("web", "--hostname", "web", "--publish", port)
    assert site.until_answered(30081) == "web"
    podman("restart", "--time", "0", "web")
    assert site.until_answered(30081) == "web"
    assert site.unreachable([podman.address("web")]) == set()
