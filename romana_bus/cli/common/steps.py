"""The steps of a command that takes a while, as a line for each."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.cli.common.options import Output


class Steps:
    """A line for each step, with the time it took."""

    def __init__(self, output: Output) -> None:
        self._silent = output.json

    @contextlib.contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        if self._silent:
            yield
            return
        try:
            with console.console.status(Text(f"{what} ...")):  # rich would interpret markup in a plain string
                yield
        except BaseException:
            self._say("✗" if console.console.encoding.startswith("utf") else "-", "red", what, began)
            raise
        self._say("✓" if console.console.encoding.startswith("utf") else "+", "green", what, began)

    def _say(self, mark: str, colour: str, what: str, began: float) -> None:
        took = console.dim(f"  {time.monotonic() - began:.1f} s")
        console.console.print(Text.assemble((mark, colour), f" {what}", took))
