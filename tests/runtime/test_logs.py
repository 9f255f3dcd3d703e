"""Nothing that logs ever raises, whatever it is given and wherever it writes."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
import structlog

from romana_bus.runtime.process import logs
from romana_bus.runtime.process.stderr import dropped

if TYPE_CHECKING:
    from collections.abc import Iterator


class Unprintable:
    def __repr__(self) -> NoReturn:
        raise RuntimeError("no")

    __str__ = __repr__


class Failing(Exception):
    __str__ = __repr__ = Unprintable.__repr__


class Broken:
    """A stream that takes nothing."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, text: str) -> NoReturn:
        raise self.error

    flush = write

    def isatty(self) -> bool:
        return False


ROUND: list[Any] = []
ROUND.append(ROUND)
ODD = [
    "\udcff", b"\xff", {b"key": 1}, {1: 2, None: 3}, ROUND, float("nan"), Unprintable(), [Unprintable()],
    Failing(), object, 10**5000, "\x00\x1b[2J", {"a", "b"}, None,
]  # fmt: skip


@pytest.fixture(params=[True, False], ids=["json", "text"])
def as_json(request: pytest.FixtureRequest) -> Iterator[bool]:
    yield bool(request.param)
    structlog.reset_defaults()


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_any_value_can_be_logged(value: Any, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", as_json)
    log = structlog.get_logger("test")
    log.info("said", value=value, other="kept")
    log.warning(value)
    log.log(logging.ERROR, value, value=value)
    try:
        raise Failing(value)
    except Failing:
        log.exception("failed", value=value)
    said = [line for line in capsys.readouterr().err.splitlines() if "kept" in line]
    assert len(said) == 1
    assert not as_json or json.loads(said[0])["event"] == "said"


def test_arguments_that_do_not_fit_the_text(as_json: bool) -> None:
    logs.configure("debug", as_json)
    before = dropped.total
    structlog.get_logger("test").info("%d of %d", "one")
    assert dropped.total == before + 1


@pytest.mark.parametrize("error", [OSError(28, "full"), BrokenPipeError(), ValueError("closed file")])
def test_a_line_that_cannot_be_written_is_counted(
    error: Exception, as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure("debug", as_json)
    before = dropped.total
    monkeypatch.setattr(sys, "stderr", Broken(error))
    structlog.get_logger("test").error("nobody hears this")
    assert dropped.total == before + 1


def log_of_libraries(stderr: int, code: str) -> subprocess.CompletedProcess[str]:
    """A process that logs through the standard library, then says how many lines were dropped."""
    whole = (
        "import logging, sys, threading, warnings\n"
        "from romana_bus.runtime.process import logs\n"
        "from romana_bus.runtime.process.stderr import dropped\n"
        "logs.configure('debug', True)\n"
        f"{code}\n"
        "print(dropped.total)\n"
        "sys.exit(3)\n"
    )
    return subprocess.run(
        [sys.executable, "-c", whole], stdout=subprocess.PIPE, stderr=stderr, text=True, check=False
    )


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("logging.getLogger('nats').error('one %s', 'line')", 1),
        ("logging.getLogger('nats').error('%d', 'no number')", 1),
        ("warnings.warn('a warning')", 1),
        ("print('said', file=sys.stderr)", 1),
        ("t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()", 5),
        ("sys.stderr.write('half a line')", 0),
    ],
)
def test_library_output_changes_no_exit_code(code: str, lines: int) -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = log_of_libraries(full, code)
    finally:
        os.close(full)
    assert done.returncode == 3
    assert int(done.stdout) >= lines


def test_a_descriptor_that_would_block_loses_lines_and_not_halves_of_them() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    code = "for number in range(5000): logging.getLogger('x').error('%d %s', number, 'y' * 100)"
    done = log_of_libraries(writer, code)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read().splitlines()
    assert done.returncode == 3
    assert len(said) - 1 <= 5000 - int(done.stdout) <= len(said)
    assert all(line.endswith("y" * 100) for line in said[:-1])
