"""The places where texts leave for a terminal, and that there are no others."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import structlog
from rich.console import Group
from rich.panel import Panel
from rich.text import Text as RichText
from rich.tree import Tree

import romana_bus.cli
from romana_bus import events as ev
from romana_bus.bus.api import Message
from romana_bus.cli.common import console, terminal
from romana_bus.cli.common.options import Output
from romana_bus.cli.common.steps import Steps
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.lab import demo, ping, pods
from romana_bus.cli.serve.live import LiveView
from romana_bus.lab.inspect.names import End
from romana_bus.lab.inspect.reachability import Pair, Ping
from romana_bus.lab.spec import Spec
from romana_bus.runtime.process import logs
from tests.cli.hostile import EVIL, SHOWN, live_cluster, steering

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from romana_bus.ipam import State
    from romana_bus.lab.inspect.demo import Outcome
    from romana_bus.lab.machine.directory import Lab

#: With a link that a terminal would make of it.
LINKED = f"\x1b]8;;http://x.example\x1b\\{EVIL}\x1b]8;;\x1b\\"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(*parts: RenderableType, width: int = 400, height: int = 40) -> str:
    """As on a terminal with colours."""
    screen = Screen()
    terminal.Console(file=screen, width=width, height=height, _environ={"TERM": "xterm"}).print(*parts)
    return screen.getvalue()


def table() -> RenderableType:
    made = console.table("name", EVIL)
    made.add_row(EVIL, Text(EVIL, "red"))
    return made


def tree() -> RenderableType:
    made = Tree(Text(EVIL, "bold"))
    made.add(EVIL).add(Text.assemble((EVIL, "cyan"), "  ", EVIL))
    return made


WITH_LINES: dict[str, tuple[RenderableType, int]] = {
    "a string": (EVIL, 1),
    "a text": (Text(EVIL, "red"), 1),
    "parts": (Text.assemble("a ", (EVIL, "red"), Text(EVIL), EVIL), 1),
    "appended": (Text("").append(EVIL).append(EVIL, "red").append(Text(EVIL)), 1),
    "a table": (table(), 2),
    "pairs": (console.pairs({EVIL: EVIL}), 1),
    "a tree": (tree(), 3),
    "a panel": (Panel(Group(Text(EVIL), EVIL)), 4),
}


@pytest.mark.parametrize("what", WITH_LINES)
def test_hostile_text_is_one_line_in_every_layout(what: str) -> None:
    part, lines = WITH_LINES[what]
    output = drawn(part)
    assert steering(output, terminal=True) == []
    assert SHOWN in output
    assert output.count("\n") == lines


def test_text_that_fits_is_not_folded() -> None:
    """A column is as wide as what is shown, not as what was given."""
    [_, *more] = drawn(table(), width=2 * len(SHOWN) + 2).splitlines()
    assert len(more) == 1


@pytest.mark.parametrize(
    "made",
    [
        RichText(LINKED),
        RichText.from_ansi(LINKED),
        RichText.from_ansi(LINKED.replace(EVIL, "a name")),
        RichText.from_markup(f"[link=http://x.example]{EVIL}[/link]"),
    ],
)
def test_text_objects_contain_no_control_sequences(made: RichText) -> None:
    assert steering(drawn(made), terminal=True) == []


def test_markup_is_text() -> None:
    assert "[bold red]x[/] :smile:" in drawn("[bold red]x[/] :smile:")


def test_lines(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_line(EVIL)
    terminal.print_error(EVIL)
    console.hint(EVIL)
    console.section(EVIL, EVIL)
    out, err = capsys.readouterr()
    assert out == "\n".join([SHOWN, SHOWN, SHOWN, SHOWN, "", ""])
    assert err == f"romana-bus: {SHOWN}\n"


def test_a_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ValueError(EVIL)
    except ValueError as error:
        terminal.print_traceback(error)
    output = capsys.readouterr().err
    assert steering(output) == []
    assert output.startswith("Traceback (most recent call last):\n  File ")
    assert "\n    raise ValueError(EVIL)\nValueError: x\\x1b[5;7m" in output


def test_json_document_contains_full_texts(capsys: pytest.CaptureFixture[str]) -> None:
    document = {EVIL: [EVIL, "\ud800", "\udc9b\x7f", "東京", 2**70, True, None]}
    terminal.print_json(document)
    console.as_json(document)
    [first, second, rest] = capsys.readouterr().out.split("\n")
    assert json.loads(first) == json.loads(second) == document
    assert rest == ""
    assert first.isascii()
    assert first.isprintable()


# --- the live view ---------------------------------------------------------------------------------------


@pytest.fixture
def state() -> State:
    return live_cluster(EVIL).state


@pytest.fixture
def logged() -> Iterator[Screen]:
    """What a person reads of the logs, once they are `configure`d."""
    yield Screen()
    structlog.reset_defaults()


def configure(logged: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", logged)
    logs.configure("info")


def rendered(picture: LiveView, state: State, problems: list[str]) -> str:
    output = drawn(picture.render(state, 400, 40, problems))
    assert steering(output, terminal=True) == []
    return output


@pytest.mark.parametrize("width", [80, 400])
def test_live_view(state: State, width: int) -> None:
    picture = LiveView(EVIL)
    denied = ev.AddressDenied(namespace=EVIL, name=EVIL, uid="u", node=EVIL, code="wish", reason=EVIL)
    headers = f"NATS/1.0\r\nRomana-Cause: {EVIL.replace(chr(13) + chr(10), '')}\r\n\r\n".encode()
    picture.add("IPAM", Message(1, EVIL, b"", headers), denied, width)
    output = rendered(picture, state, [EVIL, EVIL])
    for text in (SHOWN, f"{SHOWN}a", f"n1{SHOWN}", f"AddressDenied    {SHOWN}/{SHOWN} on"):
        assert text in output
    assert len(output.splitlines()) == 40


def test_process_messages(state: State, logged: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(logged, monkeypatch)
    picture = LiveView("")
    monkeypatch.setattr(sys, "stderr", picture)
    structlog.get_logger().warning(f"event {EVIL}", name=EVIL)
    sys.stderr.write(f"one\n\n{LINKED}\x1b[31mred\x1b[0m\rnot hidden\n")
    shown = [line.plain for line in picture.lines]
    assert len(shown) == 4  # what is written raw may have lines
    assert f"event {SHOWN}" in shown[0]
    assert shown[0].count("\\x1b") == 2 * SHOWN.count("\\x1b")  # and none of the log's own colours
    assert shown[1] == "one"
    assert shown[2].startswith(r"\x1b]8;;http://x.example\x1b\x\x1b]0;t\x07\r")
    assert shown[3].endswith(r"red\rnot hidden")
    rendered(picture, state, [])


# --- logs ------------------------------------------------------------------------------------------------


def test_a_log_line_on_a_terminal(logged: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(logged, monkeypatch)
    log = structlog.get_logger()
    log.warning(f"event {EVIL}", name=EVIL, many=[EVIL], error=ValueError(EVIL))
    output = logged.getvalue()
    assert steering(output, terminal=True) == []
    assert output.count("\n") == 1
    assert output.count(SHOWN) == 4


def test_a_traceback_on_a_terminal(logged: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(logged, monkeypatch)
    try:
        raise ValueError(EVIL)
    except ValueError:
        structlog.get_logger().exception("failed")
    output = logged.getvalue()
    assert steering(output, terminal=True) == []
    assert "raise ValueError(EVIL)\nValueError: x\\x1b[5;7m" in output


def test_log_lines_of_libraries() -> None:
    program = (
        "import logging; from romana_bus.runtime.process import logs; logs.configure('debug');"
        "logging.getLogger('nats').error('a\\x1b[5;7m%s', '\\u202e')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr == "ERROR:nats:a\\x1b[5;7m\\u202e\n"


# --- labs ------------------------------------------------------------------------------------------------


def test_lab_pod_table(capsys: pytest.CaptureFixture[str]) -> None:
    spec = Spec(name="lab", zones=1, nodes_per_zone=1)
    place = cast("Lab", SimpleNamespace(spec=spec))
    waiting = {"type": "Ready", "status": "False", "message": EVIL}
    status = {"phase": "Pending", "podIPs": [{"ip": EVIL}], "conditions": [waiting]}
    metadata = {"name": EVIL, "namespace": EVIL}
    pod = {"metadata": metadata, "spec": {"nodeName": EVIL}, "status": status}
    pods._show(place, [pod], Output(), {})
    lines(capsys, 4)


def test_lab_reachability_table(capsys: pytest.CaptureFixture[str]) -> None:
    end = End("pod", EVIL, EVIL, (EVIL,), EVIL, EVIL)
    ping._show_matrix([end], [Pair(end, end, Ping(1, 0, 0.0, EVIL))])
    lines(capsys, 4)


def test_lab_address_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Two blocks and two pods of a node are below one another."""
    spec = Spec(name="lab", zones=1, nodes_per_zone=1)
    [node] = spec.nodes
    place = SimpleNamespace(spec=spec, prefixes=lambda: {"zone-a": (EVIL, EVIL)})
    pod = {
        "metadata": {"name": EVIL},
        "spec": {"nodeName": node.name},
        "status": {"podIPs": [{"ip": EVIL}]},
    }
    outcome = SimpleNamespace(pods=[pod, pod], blocks={node.name: [EVIL, EVIL]})
    demo._show_addresses(cast("Lab", place), cast("Outcome", outcome))
    lines(capsys, 6)


def test_lab_step(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(
        console, "console", terminal.Console(file=screen, width=400, _environ={"TERM": "xterm"})
    )
    with Steps(Output())(f"{EVIL}[bold]"):
        pass
    output = screen.getvalue()
    assert steering(output, terminal=True) == []
    assert output.count(f"{SHOWN}[bold]") >= 2


def lines(capsys: pytest.CaptureFixture[str], count: int) -> None:
    out, err = capsys.readouterr()
    assert steering(out + err) == []
    assert SHOWN in out
    assert out.count("\n") == count


# --- and no other way ------------------------------------------------------------------------------------

#: What writes past the escapes, or lays out texts that have not been escaped.
PAST = re.compile(
    r"sys\.(stdout|stderr)\.write|sys\.__std|os\.write\(|from_ansi|from_markup|print_exc"
    r"|^from rich(\.text import|\.console import .*\bConsole\b| import)|^import rich",
    re.MULTILINE,
)


def test_no_other_module_writes_to_the_terminal() -> None:
    modules: list[Any] = sorted(Path(romana_bus.cli.__file__).parent.rglob("*.py"))
    found = {
        f"{path.name}: {match[0]}" for path in modules if path.stem != "terminal"
        for match in PAST.finditer(path.read_text())
    }  # fmt: skip
    assert len(modules) > 30
    assert found == set()
