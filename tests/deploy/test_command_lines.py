"""The command line's own parser accepts every command of the manifests and units."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.cli.app import app
from romana_bus.cli.serve.run import CONSUMERS
from tests.deploy.manifests import DEPLOY, OVERLAYS, containers, environment, expanded

if TYPE_CHECKING:
    from tests.deploy.manifests import Container

UNITS = sorted((DEPLOY / "systemd").glob("*.service"))
#: Settings that commands compute from their options, and refuse what cannot be.
COMPUTED = ("access", "layout", "settings", "target")
CASES = [(name, one) for name in OVERLAYS for one in containers(name) if one.spec["name"] != "nats"]


def accepted(words: list[str], values: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The options that the command would run with."""
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    _, bound, unknown = app.parse_args(words, exit_on_error=False, print_error=False)
    assert not unknown
    assert set(bound.arguments.get("consumer", ())) <= CONSUMERS.keys()
    for options in bound.arguments.values():
        for name in COMPUTED:
            with contextlib.suppress(AttributeError):
                getattr(options, name)
    return dict(bound.arguments)


def words_of(one: Container, values: dict[str, str], scratch: Path) -> list[str]:
    """What `romana-bus` is given: the image starts it, or a shell does."""
    arguments = [expanded(word, values) for word in one.spec["args"]]
    if "command" not in one.spec:
        return arguments
    for name, text in (("mount", ""), ("sleep", ""), ("romana-bus", 'printf "%s\\0" "$@"')):
        (scratch / name).write_text(f"#!/bin/sh\n{text}\n")
        (scratch / name).chmod(0o755)
    environ = {"PATH": f"{scratch}:{os.environ['PATH']}", "TMPDIR": str(scratch)}
    command = [*one.spec["command"], *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize(("overlay", "one"), CASES, ids=[f"{name}-{one.name}" for name, one in CASES])
def test_commands_of_containers(
    overlay: str, one: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = environment(overlay, one, "node-1", "192.0.2.11")
    options = accepted(words_of(one, values, tmp_path), values, monkeypatch)
    if "store" in options:
        copies = 3 if overlay == "three-zones" else 1
        assert len(options["store"].nats) == copies
        assert options["store"].creds == Path("/etc/romana-bus/creds")
        assert options["store"].replicas == (1 if one.spec["name"] == "agent" else copies)
    if one.spec["name"] == "agent":
        assert options["node"] == "node-1"


def test_an_unknown_option_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Exception, match="--colour"):
        accepted(["watch", "--colour=blue"], {}, monkeypatch)


def unit_file(unit: Path) -> tuple[list[str], dict[str, str]]:
    """The command and the variables of a unit, with the example of its environment file."""
    [line] = re.findall(r"^ExecStart=/usr/local/bin/romana-bus (.*)$", unit.read_text(), re.MULTILINE)
    example = (DEPLOY / "systemd/env.example").read_text()
    values = dict(re.findall(r"^(\w+)=(.*)$", example, re.MULTILINE))
    return shlex.split(line), {name: value.strip('"') for name, value in values.items()}


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.stem))
def test_commands_of_units(unit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words, values = unit_file(unit)
    assert accepted(words, values, monkeypatch)["store"].nats == ("nats://192.0.2.11:4222",)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.stem))
def test_systemd_accepts_the_units(unit: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("needs systemd-analyze: apt-get install systemd")
    (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/romana-bus", "/bin/true"))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    ours = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, ours) == (0, []), done.stderr
