"""Output to a terminal: every text is escaped here, so that callers need not do it.

Lines go through `print_line`, error lines through `print_error`, documents through `print_json`. What rich
lays out is made of `Text` or strings, and printed by a `Console`. A `Text` and a string are one line each:
layouts put lines below one another, and a newline inside a text comes from outside and is escaped.
"""

from __future__ import annotations

import json
import sys
import traceback
from typing import TYPE_CHECKING, Any, cast

from rich.console import Console as RichConsole
from rich.segment import Segment
from rich.text import Text as RichText

from romana_bus.printable import printable, printable_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import ConsoleOptions, RenderableType
    from rich.style import StyleType


def print_line(line: str) -> None:
    """Print a line on stdout, which the caller flushes."""
    sys.stdout.write(f"{printable(line)}\n")


def print_error(reason: str) -> None:
    """Print an error, one line on stderr."""
    sys.stderr.write(f"romana-bus: {printable(reason)}\n")
    sys.stderr.flush()


def print_traceback(error: BaseException) -> None:
    """Print an exception with its traceback on stderr."""
    sys.stderr.write(printable_lines("".join(traceback.format_exception(error))))
    sys.stderr.flush()


def print_json(document: Any) -> None:
    """Print a document on one line of stdout, which the caller flushes. JSON escapes everything that is not
    printable ASCII, lone surrogates too, so nothing is lost for the program that reads it."""
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")


class Text(RichText):
    """A rich Text with escaped control characters: rich's own keeps most of them, and drops some."""

    __slots__ = ()

    def __init__(self, text: str = "", style: StyleType = "", **options: Any) -> None:
        super().__init__(printable(text), style, **options)

    def append(self, text: RichText | str, style: StyleType | None = None) -> Text:
        super().append(printable(text) if isinstance(text, str) else text, style)
        return self

    @classmethod
    def assemble(cls, *parts: str | RichText | tuple[str, StyleType], **options: Any) -> Text:
        return cast("Text", super().assemble(*parts, **options))


class Console(RichConsole):
    """A rich Console without markup, so that a `[` in a name is printed as it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def on_broken_pipe(self) -> None:
        """Rich would end the process with exit code 1."""
        raise BrokenPipeError

    def render_str(self, text: str, **options: Any) -> RichText:
        return super().render_str(printable(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Escape once more: a text keeps its colours, but no links or control characters."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            if control:
                yield segment
            else:
                yield Segment(
                    printable_lines(text), style.update_link(None) if style and style.link else style
                )
