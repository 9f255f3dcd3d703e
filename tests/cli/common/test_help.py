"""`--help` and `--version`: fast, since they import nothing that only other commands need."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from romana_bus.cli.app import app
from tests.cli.processes import ROMANA_BUS

if TYPE_CHECKING:
    from cyclopts import App

    from tests.cli.conftest import Call

#: What takes long to import. No command line needs it to say what there is.
HEAVY = {"aiohttp", "kubernetes_asyncio", "msgspec", "nats", "structlog", "uvloop", "yaml"}


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_no_heavy_module_is_imported(option: str) -> None:
    program = (
        "import sys; sys.path[:0] = ['']; from romana_bus.cli.app import call; "
        f"call(['{option}']); print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout
    assert not {name.partition(".")[0] for name in done.stderr.split()} & HEAVY


def test_command_list_shows_the_first_line_of_each_help(call: Call) -> None:
    listed = call("--help").out
    for name in commands(app):
        own = call(name, "--help").out
        summary = " ".join(own.partition("\n\n")[2].partition("\n\n")[0].split())
        assert summary
        assert summary in " ".join(listed.replace("│", " ").split())


def test_every_command_can_be_imported() -> None:
    assert {("ipam", "simulate"), ("lab", "node", "start"), ("agent", "install-cni")} <= set(walk(app, ()))


def commands(of: App) -> list[str]:
    return [name for name in of if not name.startswith("-")]


def walk(of: App, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Every command and group of commands below one."""
    return [path, *(page for name in commands(of) for page in walk(of[name], (*path, name)))]


def test_executable_prints_its_version() -> None:
    done = subprocess.run([ROMANA_BUS, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == "0.1.0\n"
