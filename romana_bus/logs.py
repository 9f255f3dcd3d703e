"""Structured logs on stderr: text for a person at a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog

from romana_bus.printable import printable, printable_lines


def configure(level: str, json: bool | None = None) -> None:
    """`level`: debug, info, warning or error. `json`: None decides by whether stderr is a terminal."""
    number = getattr(logging, level.upper())
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=as_json),
        structlog.processors.format_exc_info,
    ]
    last: list[Any] = (
        [structlog.processors.JSONRenderer()]
        if as_json
        else [
            _printable,
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_Stderr,
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard library; what they have to say is for a debugger.
    others = logging.StreamHandler(sys.stderr)
    others.setFormatter(_Printable(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.CRITICAL if number > logging.DEBUG else number, handlers=[others])


def _printable(_logger: object, _method: str, entry: dict[str, Any]) -> dict[str, Any]:
    """For a terminal. What is no text is shown by `repr`, which escapes too."""
    for key, value in entry.items():
        if isinstance(value, str):
            entry[key] = printable_lines(value) if key == "exception" else printable(value)
    return entry


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


class _Stderr:
    """Looks stderr up at every line: a live view stands in for it while it is on the screen."""

    def __init__(self, *_: object) -> None: ...

    def msg(self, message: str) -> None:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = msg
