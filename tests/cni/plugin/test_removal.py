"""What `agent uninstall` recognises as written by `install-cni`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from romana_bus.cni.plugin import install
from romana_bus.cni.plugin.removal import found
from tests.cni.calling import CLIENTS

if TYPE_CHECKING:
    from pathlib import Path

#: As commit 0dba5b1 wrote it.
OLDER = """{
  "cniVersion": "1.0.0",
  "name": "net",
  "plugins": [
    {
      "type": "romana-cni",
      "socket": "/run/elsewhere/cni.sock",
      "mtu": 1400
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      },
      "snat": true
    }
  ]
}
"""


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Both directories, as install-cni leaves them beside the files of others."""
    bin_dir, conf_dir = tmp_path / "bin", tmp_path / "conf"
    install.install(bin_dir, conf_dir, tmp_path / "cni.sock", "romana-bus", 0)
    (bin_dir / "bridge").write_text("#!/bin/sh\n")
    (conf_dir / "20-other.conflist").write_text('{"name": "other", "plugins": [{"type": "bridge"}]}')
    (conf_dir / "30-broken.conf").write_text("[")
    return bin_dir, conf_dir


@pytest.mark.parametrize("client", ["c", "python"])
def test_what_install_cni_wrote_is_found_and_nothing_else(places: tuple[Path, Path], client: str) -> None:
    executable, config = places[0] / "romana-cni", places[1] / "10-romana-bus.conflist"
    executable.write_bytes(CLIENTS[client].read_bytes())
    assert found(*places) == ((config,), (executable,), ())
    config.write_text(OLDER)
    assert found(*places) == ((config,), (executable,), ())
    interrupted = places[1] / ".10-romana-bus.conflist.4711"
    interrupted.write_text("")
    assert found(*places) == ((interrupted, config), (executable,), ())


@pytest.mark.parametrize("change", ["changed", "renamed", "copied", "link"])
def test_a_changed_configuration_is_left_with_the_plugin_that_it_names(
    places: tuple[Path, Path], change: str
) -> None:
    executable, config = places[0] / "romana-cni", places[1] / "10-romana-bus.conflist"
    other, removed = places[1] / "05-mine.conflist", []
    if change == "changed":
        document = json.loads(config.read_text())
        document["plugins"].append({"type": "tuning"})
        config.write_text(json.dumps(document))
        other = config
    elif change == "copied":
        other.write_bytes(config.read_bytes())
        removed = [config]
    else:
        config.rename(other)
        if change == "link":
            config.symlink_to(other)
    seen = found(*places)
    assert (seen.configurations, seen.executables) == (tuple(removed), ())
    assert f"{executable}: " in seen.left[-1]
    assert f"{other} names it" in seen.left[-1] or change == "link"
    assert any(text.startswith(f"{other}: ") for text in seen.left)


def test_a_program_of_that_name_that_is_not_ours_is_left(places: tuple[Path, Path]) -> None:
    executable = places[0] / "romana-cni"
    executable.write_text("#!/bin/sh\n")
    assert found(*places).executables == ()
    assert found(*places).left == (f"{executable}: not what install-cni wrote",)
    executable.unlink()
    assert found(*places).left == ()
