"""`romana-bus agent install-cni`, and the wheel that brings the executable."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from romana_bus.cni.plugin import install
from tests.cli.processes import Done, Home
from tests.cni.calling import PLUGINS, invoke

ROOT = Path(__file__).parents[3]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("bin", "conf"):
        (tmp_path / name).mkdir()
    return tmp_path / "bin", tmp_path / "conf"


def installed(home: Home, places: tuple[Path, Path], *options: str) -> Done:
    bin_dir, conf_dir = places
    return home.run("agent", "install-cni", "--bin-dir", str(bin_dir), "--conf-dir", str(conf_dir), *options)


def conflist(places: tuple[Path, Path]) -> Any:
    return json.loads((places[1] / "10-romana-bus.conflist").read_text())


def test_install_writes_both_files_and_they_work(
    home: Home, places: tuple[Path, Path], tmp_path: Path
) -> None:
    done = installed(home, places, "--run-dir", str(tmp_path / "run"), "--name", "net", "--mtu", "1400")
    assert done.code == 0, done
    bin_dir, conf_dir = places
    executable = bin_dir / "romana-cni"
    assert executable.stat().st_mode & 0o777 == 0o755
    assert (conf_dir / "10-romana-bus.conflist").stat().st_mode & 0o777 == 0o644
    assert conflist(places) == {
        "cniVersion": "1.1.0",
        "name": "net",
        "plugins": [{"type": "romana-cni", "socket": str(tmp_path / "run/cni.sock"), "mtu": 1400}],
    }
    said = invoke(executable, {"CNI_COMMAND": "VERSION", "PATH": os.environ["PATH"]}, b"{}")
    assert "1.1.0" in said.json["supportedVersions"]
    assert sorted(one.name for one in bin_dir.iterdir()) == ["romana-cni"]
    assert [one.name for one in conf_dir.iterdir()] == ["10-romana-bus.conflist"]
    assert installed(home, places).code == 0  # again, over what is there


def test_install_says_which_configurations_the_runtime_uses(home: Home, places: tuple[Path, Path]) -> None:
    for name in ("99-loopback.conf", "87-podman-bridge.conflist"):
        (places[1] / name).write_text("{}")
    said = "the runtime uses the first file by name, which is this one, and not 87-podman-bridge.conflist"
    assert said in installed(home, places).out
    (places[1] / "10-calico.conflist").write_text("{}")
    out = installed(home, places).out
    assert "which is not this one: remove 10-calico.conflist" in out
    assert "podman" not in out


def speaks(directory: Path, name: str, said: str) -> None:
    file = directory / name
    file.write_text(f"#!/bin/sh\necho '{said}'\n")
    file.chmod(0o755)


def test_installed_plugins_are_chained_at_a_common_version(home: Home, places: tuple[Path, Path]) -> None:
    speaks(places[0], "portmap", '{"cniVersion":"1.0.0","supportedVersions":["0.3.1","0.4.0","1.0.0"]}')
    assert installed(home, places).code == 0
    assert conflist(places)["cniVersion"] == "1.0.0"
    assert [one["type"] for one in conflist(places)["plugins"]] == ["romana-cni", "portmap"]
    assert conflist(places)["plugins"][1]["capabilities"] == {"portMappings": True}
    speaks(places[0], "bandwidth", '{"supportedVersions":["0.4.0"]}')
    assert installed(home, places).code == 0
    assert conflist(places)["cniVersion"] == "0.4.0"
    assert [one["type"] for one in conflist(places)["plugins"]] == ["romana-cni", "portmap", "bandwidth"]


def test_what_an_old_plugin_costs_is_told(home: Home, places: tuple[Path, Path]) -> None:
    assert "STATUS and GC" not in installed(home, places).out
    speaks(places[0], "bandwidth", '{"supportedVersions":["0.4.0","1.0.0","1.1.0"]}')
    assert "STATUS and GC" not in installed(home, places).out
    speaks(places[0], "portmap", '{"supportedVersions":["0.4.0","1.0.0"]}')
    out = " ".join(installed(home, places).out.split())
    assert "STATUS and GC, which the runtime cannot call: portmap only knows 1.0.0" in out
    assert f"plugins 1.6 know 1.1.0: install them in {places[0]}" in out


def test_missing_directories_are_made(home: Home, tmp_path: Path) -> None:
    places = tmp_path / "opt/cni/bin", tmp_path / "etc/cni/net.d"
    assert installed(home, places).code == 0
    assert conflist(places)["name"] == "romana-bus"


@pytest.mark.parametrize("said", ["", "{", '{"supportedVersions":["0.1.0"]}', '{"supportedVersions":7}'])
def test_broken_plugins_are_not_chained(home: Home, places: tuple[Path, Path], said: str) -> None:
    speaks(places[0], "portmap", said)
    assert installed(home, places).code == 0
    assert [one["type"] for one in conflist(places)["plugins"]] == ["romana-cni"]


def test_other_configuration_with_precedence_is_reported(home: Home, places: tuple[Path, Path]) -> None:
    for name in ("05-cilium.conflist", "00-notes.txt", "99-loopback.conf"):
        (places[1] / name).write_text("{}")
    done = installed(home, places)
    assert "05-cilium.conflist" in done.out
    assert "loopback" not in done.out
    assert "notes" not in done.out


def test_failed_install_changes_nothing(home: Home, places: tuple[Path, Path], tmp_path: Path) -> None:
    bin_dir, conf_dir = places
    (tmp_path / "file").touch()
    installed(home, (tmp_path / "file/bin", conf_dir)).complains(2, "--bin-dir", "Not a directory")
    installed(home, (tmp_path / "new", tmp_path / "file/conf")).complains(2, "--conf-dir", "Not a directory")
    assert not (tmp_path / "new").exists()
    installed(home, places, "--mtu", "7").complains(2, "--mtu 7")
    installed(home, places, "--name", "a/b").complains(2, "--name")
    installed(home, places, "--run-dir", "/" + "x" * 120).complains(2, "--run-dir", "107")
    (bin_dir / "romana-cni").mkdir()
    installed(home, places).complains(1, "cannot write")
    (bin_dir / "romana-cni").rmdir()
    assert not list(bin_dir.iterdir())
    assert not list(conf_dir.iterdir())


def test_a_directory_that_is_not_writable(home: Home, places: tuple[Path, Path]) -> None:
    if os.geteuid() == 0:
        made = subprocess.run(["mount", "--bind", places[0], places[0]], check=False)
        if made.returncode:
            pytest.skip("nothing can be mounted here")
        try:
            subprocess.run(["mount", "-o", "remount,ro,bind", places[0]], check=True)
            installed(home, places).complains(2, "--bin-dir", "not writable")
        finally:
            subprocess.run(["umount", places[0]], check=True)
    else:
        places[0].chmod(0o555)
        installed(home, places).complains(2, "--bin-dir", "not writable")
    assert not list(places[1].iterdir())


def test_plugins_of_debian_are_chained(home: Home, places: tuple[Path, Path]) -> None:
    for name in ("portmap", "bandwidth"):
        if not (PLUGINS / name).exists():
            pytest.skip(f"{PLUGINS / name} is missing: apt-get install containernetworking-plugins")
        shutil.copy(PLUGINS / name, places[0])
    assert installed(home, places).code == 0
    assert [one["type"] for one in conflist(places)["plugins"]] == ["romana-cni", "portmap", "bandwidth"]
    assert conflist(places)["cniVersion"] in ("1.0.0", "1.1.0")


# --- the wheel ------------------------------------------------------------------------------------------


def wheel(tmp_path: Path, compiler: str) -> tuple[str, set[str]]:
    """(file name, what is in it)."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md"):
        shutil.copy(ROOT / name, source)
    leave = shutil.ignore_patterns("__pycache__", "romana-cni", "*.new")
    shutil.copytree(ROOT / "romana_bus", source / "romana_bus", ignore=leave)
    line = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(tmp_path),
        str(source),
    ]
    done = subprocess.run(
        line, env=os.environ | {"CC": compiler}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as content:
        return made.name, set(content.namelist())


INTERPRETER = 3  # PT_INTERP of elf(5): names the dynamic linker


def segments(elf: bytes) -> set[int]:
    """The types of its program headers (64 bits)."""
    start, size, count = (*struct.unpack_from("<Q", elf, 32), *struct.unpack_from("<HH", elf, 54))
    return {struct.unpack_from("<I", elf, start + size * one)[0] for one in range(count)}


def test_a_wheel_built_with_a_compiler_has_the_executable(tmp_path: Path) -> None:
    if not shutil.which("cc"):
        pytest.skip("no compiler here")
    name, files = wheel(tmp_path, "cc")
    assert name.split("-")[2:4] == ["py3", "none"]
    assert "linux" in name
    assert {f"romana_bus/cni/plugin/{name}" for name in ("romana-cni", "client.py", "client.c")} <= files
    with zipfile.ZipFile(tmp_path / name) as content:
        content.extract("romana_bus/cni/plugin/romana-cni", tmp_path)
    executable = tmp_path / "romana_bus/cni/plugin/romana-cni"
    executable.chmod(0o755)
    assert "1.1.0" in invoke(executable, {"CNI_COMMAND": "VERSION"}, b"").json["supportedVersions"]
    assert INTERPRETER not in segments(executable.read_bytes())  # static: it needs nothing of its host


def test_the_executable_compiles_without_a_warning(tmp_path: Path) -> None:
    if not shutil.which("cc"):
        pytest.skip("no compiler here")
    _, files = wheel(tmp_path, "cc -Werror")
    assert "romana_bus/cni/plugin/romana-cni" in files


def test_compiler_warnings_do_not_fail_the_build(tmp_path: Path) -> None:
    if not shutil.which("cc"):
        pytest.skip("no compiler here")
    _, files = wheel(tmp_path, "cc -Wtraditional")
    assert "romana_bus/cni/plugin/romana-cni" in files


def test_a_wheel_built_without_a_compiler_is_pure(tmp_path: Path) -> None:
    name, files = wheel(tmp_path, "/nonexistent")
    assert name.endswith("-py3-none-any.whl")
    assert "romana_bus/cni/plugin/romana-cni" not in files
    assert "romana_bus/cni/plugin/client.py" in files


def test_python_client_is_installed_without_the_compiled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, places: tuple[Path, Path]
) -> None:
    package = tmp_path / "cni"
    package.mkdir()
    shutil.copy(ROOT / "romana_bus/cni/plugin/client.py", package)
    monkeypatch.setattr(install, "_HERE", package)
    done = install.install(*places, tmp_path / "s", "net", 0)
    said = invoke(done.executable, {"CNI_COMMAND": "VERSION", "PATH": os.environ["PATH"]}, b"")
    assert "1.1.0" in said.json["supportedVersions"]
