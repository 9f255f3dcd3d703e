"""How a background process of the lab ends."""

from __future__ import annotations

import subprocess
import sys

ENDS = """
import sys
from romana_bus.errors import BadInput
from romana_bus.runtime.process.signals import run
async def main():
    raise BadInput("no such \\x1b]0;title\\x07", "and\\x9b2J")
sys.exit(run(main()))
"""


def test_error_contains_no_control_sequences() -> None:
    ended = subprocess.run([sys.executable, "-c", ENDS], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "no such \\x1b]0;title\\x07\nand\\x9b2J\n")
