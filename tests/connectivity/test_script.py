"""The probes' script in real shells, with each of the tools that an image may have; what is read of it."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from romana_bus.connectivity import script
from romana_bus.connectivity.checks import Api, plan
from romana_bus.connectivity.model import API, Check, Node, pod_on
from tests.cli.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: What an image has: names, and the programs behind them.
IMAGES = {
    "busybox": dict.fromkeys(("busybox", "nc", "sh", "timeout", "sleep", "echo"), "busybox"),
    "nc of BusyBox": dict.fromkeys(("nc", "sh", "timeout", "sleep", "echo"), "busybox"),
    "Debian": {"sh": "dash", "perl": "perl", "timeout": "timeout", "sleep": "sleep"},
}


class Image(NamedTuple):
    """A directory of programs, as an image has them."""

    directory: Path

    def start(self, command: list[str], **more: str) -> subprocess.Popen[str]:
        shell = str(self.directory / command[0])
        environment = script.ENVIRONMENT | {"PATH": str(self.directory)} | more
        return subprocess.Popen([shell, *command[1:]], stdout=-1, stderr=-2, text=True, env=environment)

    def run(self, command: list[str], **more: str) -> str:
        with self.start(command, **more) as process:
            return process.communicate(timeout=60)[0]


def made(directory: Path, programs: dict[str, str]) -> Image:
    for name, program in programs.items():
        if (found := shutil.which(program)) is None:
            pytest.skip(f"{program} is not installed")
        (directory / name).symlink_to(found)
    return Image(directory)


@pytest.fixture(params=list(IMAGES))
def image(request: pytest.FixtureRequest, tmp_path: Path) -> Image:
    return made(tmp_path, IMAGES[request.param])


@contextlib.contextmanager
def listening(image: Image, name: str) -> Iterator[int]:
    """A listener of the script, at a port."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
    process = image.start(script.listen(port, name))
    try:
        until(lambda: _accepts(port) or process.poll() is not None, "it listens")
        assert process.poll() is None, process.communicate()[0]
        yield port
    finally:
        process.kill()
        process.communicate()


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def check(address: str, port: int, says: str) -> Check:
    return Check("pod", pod_on("a1"), pod_on("b1"), "", 4, address, port, says)


def test_listeners_answer_with_their_name_in_both_families(image: Image) -> None:
    with listening(image, "b1.example") as port, socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # it does not listen
        nobody = closed.getsockname()[1]
        checks = [
            check("127.0.0.1", port, "b1.example"),
            check("::1", port, "b1.example"),
            check("127.0.0.1", port, "+"),
            check("127.0.0.1", port, "-"),
            check("127.0.0.1", nobody, "-"),
            check("127.0.0.1", nobody, "+"),
            check("127.0.0.1", nobody, "b1.example"),
            check("127.0.0.1", port, "b2.example"),
            check("no-such-name.invalid", port, "+"),
        ]
        printed = script.read(image.run(script.dial(checks)), checks)
    assert printed.why == ""
    assert [each.ok for each in printed.outcomes] == [True] * 5 + [False] * 4
    refused, also, other, unknown = (each.said for each in printed.outcomes[5:])
    assert "refused" in refused
    assert "refused" in also
    assert other == "answered by b1.example"
    assert any(word in unknown.lower() for word in ("bad address", "not known", "name resolution")), unknown


def test_a_peer_that_says_nothing_times_out(image: Image) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        checks = [check("127.0.0.1", silent.getsockname()[1], "b1")]
        printed = script.read(image.run(script.dial(checks), TRIES="1", ANSWER="1"), checks)
    assert [(each.ok, each.said) for each in printed.outcomes] == [(False, "timed out")]


def test_many_checks_at_once(image: Image) -> None:
    with listening(image, "b1") as port:
        checks = [check("127.0.0.1", port, "b1")] * 40
        printed = script.read(image.run(script.dial(checks)), checks)
    assert (printed.why, len(printed.outcomes)) == ("", 40)
    assert all(each.ok for each in printed.outcomes)


def test_an_image_without_a_tool_says_so(tmp_path: Path) -> None:
    image = made(tmp_path, {"sh": "dash"})
    for command in (script.listen(8080, "a1"), script.dial([check("127.0.0.1", 1, "-")])):
        why = script.read(image.run(command), ()).why
        assert why == "the image has neither BusyBox's nc nor Perl"


CHECKS = plan([Node("a1", "", ("10.0.0.1",))], {}, Api(("10.96.0.1",), 443), 1)


@pytest.mark.parametrize(
    ("log", "outcomes", "why"),
    [
        ("ok 0\nok 1\nno 2 nc: timed out\nend\n", {0: "", 1: "", 2: "nc: timed out"}, ""),
        ("no 1\nok 0\nok 2\nend\n", {0: "", 1: "no answer", 2: ""}, ""),
        ("ok 0\nok 1\nok 2\n", {0: "", 1: "", 2: ""}, "it was ended early"),
        ("ok 0\n", {0: ""}, "2 checks were not made: it was ended early"),
        ("", {}, "3 checks were not made: it was ended early"),
        ("sh: timeout: not found\nend\n", {}, "3 checks were not made: sh: timeout: not found"),
        ("ok 0\nok 9\nok x\nok -1\nok ²\nok\nno\nend\n", {0: ""}, "2 checks were not made: no"),
        ("fatal nothing there\n", {}, "nothing there"),
        ("\x00\x1b[2J\nok 0\nok 1\nok 2\nend", {0: "", 1: "", 2: ""}, ""),
    ],
)
def test_lines_of_a_probe(log: str, outcomes: dict[int, str], why: str) -> None:
    assert len(CHECKS) == 3
    printed = script.read(log, CHECKS)
    assert {CHECKS.index(each.check): each.said for each in printed.outcomes} == outcomes
    assert all(each.ok is not bool(each.said) for each in printed.outcomes)
    assert printed.why == why


def test_a_long_error_is_cut() -> None:
    (outcome,) = script.read(f"no 0 {'x' * 10_000}\n", CHECKS[:1]).outcomes
    assert len(outcome.said) == 200
    assert CHECKS[2].target == API
