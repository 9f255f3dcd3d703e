"""Whatever a command line, a file or an environment has in it: the error is one line that steers nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.hostile import EVIL, SHOWN, Log, built, harmless, steering

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Done, Home
    from tests.servers import NatsServer

#: Each is refused, and the line has the text, which is `@` here, in it.
WITH_A_LOG = [
    "ipam show --host no@",
    "ipam show --pod no@/p",
    "ipam show --pod @",
    "ipam show --ip @",
    "ipam show --no@",
    "ipam reserve @",
    "ipam reserve 10.0.0.0/28",
    "ipam check --server @",
    "ipam check --kubeconfig @",
    "events tail --subject @",
    "topology plan @",
    "topology apply --no@",
    "watch --resource @",
    "run @",
    "up --recording @",
]
WITHOUT = ["status --cluster @", "status --nats @", "lab down --name @", "topology validate --@", "@"]


@pytest.fixture(scope="session")
def evil(nats_server: NatsServer) -> Log:
    return built(nats_server, EVIL)


def one_line(result: Done) -> None:
    assert result.code in (1, 2)
    harmless(result)
    [said] = [line for line in result.err.splitlines() if not line.startswith("{")]
    assert said.startswith("romana-bus: ")
    assert "x9b3A" in said


@pytest.mark.parametrize("line", WITH_A_LOG)
def test_errors_of_commands_on_a_log(line: str, evil: Log, call: Call) -> None:
    one_line(call(*evil.filled(line), *evil.options))


@pytest.mark.parametrize("line", WITHOUT)
def test_errors_without_a_log(line: str, evil: Log, call: Call) -> None:
    one_line(call(*evil.filled(line)))


@pytest.mark.parametrize("more", [(), ("--context", f"no{EVIL}")])
def test_errors_of_a_kubeconfig(more: tuple[str, ...], evil: Log, tmp_path: Path, call: Call) -> None:
    config = tmp_path / "config"
    context = {"name": EVIL, "context": {"cluster": EVIL, "user": EVIL}}
    config.write_text(
        json.dumps({"current-context": EVIL, "contexts": [context], "clusters": [], "users": []})
    )
    one_line(call("watch", "--kubeconfig", str(config), *more, *evil.options))


def test_errors_on_a_terminal(evil: Log, home: Home) -> None:
    with home.start_on_terminal(50, 500, "ipam", "show", "--host", f"no{EVIL}", *evil.options) as looking:
        result = looking.wait()
    assert result.code == 2
    assert steering(result.out, terminal=True) == []
    assert f"romana-bus: --host no{SHOWN}: " in result.out


def test_errors_of_a_defect() -> None:
    """It is shown in whole: of all texts only this one may have lines."""
    program = (
        "import sys; from romana_bus.cli import app, main\n"
        f"def call(_): raise ValueError({EVIL!r})\n"
        "app.call = call\nmain.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert steering(done.stderr) == []
    assert "\nValueError: x\\x1b[5;7m" in done.stderr
