"""A cluster of one node that runs containers; skipped with the reason where that is impossible."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.cni.calling import PLUGINS, unusable
from tests.cni.runtimes import image
from tests.cni.runtimes.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Program -> Debian's package.
_NEEDED = {
    "containerd": "containerd", "ctr": "containerd", "runc": "runc", "podman": "podman", "gcc": "gcc",
    "iptables": "iptables", str(PLUGINS / "portmap"): "containernetworking-plugins",
}  # fmt: skip


@pytest.fixture(scope="session")
def usable() -> None:
    if why := unusable():
        pytest.skip(why)
    for program, package in _NEEDED.items():
        if shutil.which(program) is None:
            pytest.skip(f"no `{program}` here: apt-get install {package}")


@pytest.fixture(scope="module")
def archive(usable: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image.build(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="module")
def site(usable: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("site")) as made:
        yield made
