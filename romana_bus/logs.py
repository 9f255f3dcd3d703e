"""Structured logs on stderr: text for a person at a terminal, one JSON object a line otherwise."""

from __future__ import annotations

import logging
import sys
from typing import Any

import structlog


def configure(level: str, json: bool | None = None) -> None:
    """`level`: debug, info, warning or error. `json`: None decides by whether stderr is a terminal."""
    number = getattr(logging, level.upper())
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=as_json),
    ]
    last: list[Any] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
        if as_json
        else [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_Stderr,
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard library; what they have to say is for a debugger.
    logging.basicConfig(level=logging.CRITICAL if number > logging.DEBUG else number, stream=sys.stderr)


class _Stderr:
    """Looks stderr up at every line: a live view stands in for it while it is on the screen."""

    def __init__(self, *_: object) -> None: ...

    def msg(self, message: str) -> None:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = msg
