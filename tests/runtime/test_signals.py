"""The signals that end a process: the first one cancels, the second one may end it at once."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from romana_bus.runtime.process.signals import ENDING, INTERRUPTED

PROGRAM = """
import asyncio, uvloop
from romana_bus.runtime.process.signals import until_signalled

async def main():
    try:
        print("begun", flush=True)
        await asyncio.Event().wait()
    finally:
        print("ending", flush=True)
        await asyncio.sleep({seconds})
        print("ended", flush=True)

uvloop.run(until_signalled(main(), {give_up}))
"""


def ended(numbers: list[int], seconds: float, give_up: str) -> tuple[int, str]:
    """The exit code, and what the process printed."""
    command = [sys.executable, "-c", PROGRAM.format(seconds=seconds, give_up=give_up)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        for number in numbers:
            process.send_signal(number)
            if len(lines) == 1:
                lines.append(process.stdout.readline())
        lines += process.stdout.readlines()
        return process.wait(10), "".join(lines)


@pytest.mark.parametrize("number", ENDING)
def test_first_signal_ends_cleanly(number: signal.Signals) -> None:
    assert ended([number], 0, "None") == (0, "begun\nending\nended\n")


def test_second_signal_ends_at_once_where_allowed() -> None:
    on_give_up = 'lambda: print("gave up", flush=True)'
    assert ended([signal.SIGTERM, signal.SIGINT], 60, on_give_up) == (INTERRUPTED, "begun\nending\ngave up\n")
    assert ended([signal.SIGTERM, signal.SIGINT], 60, "lambda: 1 / 0") == (INTERRUPTED, "begun\nending\n")


def test_more_signals_change_nothing_otherwise() -> None:
    assert ended([signal.SIGTERM, signal.SIGINT, signal.SIGTERM], 0.5, "None") == (
        0,
        "begun\nending\nended\n",
    )
