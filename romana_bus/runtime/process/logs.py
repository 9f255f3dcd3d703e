"""Structured logs on stderr: text on a terminal, one JSON object per line otherwise.

A log call never raises: a line that cannot be rendered or written is dropped and counted.
"""

from __future__ import annotations

import functools
import logging
import sys
from typing import TYPE_CHECKING, Any

import structlog
from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from romana_bus.printable import printable, printable_lines
from romana_bus.runtime.process.stderr import dropped, make_lossy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

_METHODS = (
    "debug", "info", "msg", "warning", "warn", "error", "critical", "fatal", "exception", "log",
)  # fmt: skip


def configure(level: str, json: bool | None = None) -> None:
    """Set up logging for the process. `level`: debug, info, warning or error. `json`: None means text if
    stderr is a terminal, else JSON."""
    make_lossy()
    number = getattr(logging, level.upper())
    terminal = sys.stderr.isatty()
    as_json = not terminal if json is None else json
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=as_json),
        structlog.processors.format_exc_info,
        _say_dropped,
    ]
    last: list[Any] = (
        [structlog.processors.JSONRenderer()]
        if as_json
        else [
            _printable,
            structlog.dev.ConsoleRenderer(colors=terminal, exception_formatter=structlog.dev.plain_traceback),
        ]
    )
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=_unfailing(structlog.make_filtering_bound_logger(number)),
        logger_factory=_Stderr,
        cache_logger_on_first_use=False,
    )
    # Libraries log through the standard library; their lines are only for debugging.
    logging.raiseExceptions = False
    others = _Handler()
    others.setFormatter(_Printable(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.CRITICAL if number > logging.DEBUG else number, handlers=[others])


def _printable(_logger: object, _method: str, entry: dict[str, Any]) -> dict[str, Any]:
    """Escape texts for a terminal. Other values are shown by `repr`, which escapes too."""
    for key, value in entry.items():
        if isinstance(value, str):
            entry[key] = printable_lines(value) if key == "exception" else printable(value)
    return entry


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


class _Stderr:
    """Looks up `sys.stderr` for every line: a live view replaces it while it is on the screen."""

    def __init__(self, *_: object) -> None: ...

    def msg(self, message: str) -> None:
        sys.stderr.write(message + "\n")
        sys.stderr.flush()

    log = debug = info = warning = warn = error = critical = exception = fatal = failure = msg


class _Handler(logging.StreamHandler[Any]):
    """The standard library's logging."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            super().emit(record)
        except RecursionError:  # the only one that `emit` raises
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002
        dropped.add()


class _DroppedLines(Collector):
    def collect(self) -> Iterator[CounterMetricFamily]:
        yield CounterMetricFamily(
            "romana_log_lines_dropped", "Lines of the log that could not be written", dropped.total
        )


REGISTRY.register(_DroppedLines())


def _say_dropped(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Add to a line the number of lines that were dropped since the last written one."""
    if dropped.unsaid:
        event["lines_dropped"] = dropped.unsaid
    return event


def _unfailing(logger: type[Any]) -> type[Any]:
    """A logger whose methods never raise."""
    return type("Unfailing", (logger,), {name: _harmless(getattr(logger, name)) for name in _METHODS})


def _harmless(write: Callable[..., None]) -> Callable[..., None]:
    """The same method, which never raises. If a value cannot be rendered, all values are written as text."""

    @functools.wraps(write)
    def write_or_drop(self: Any, *args: Any, **values: Any) -> None:
        try:
            write(self, *args, **values)
        except Exception:  # noqa: BLE001  processors, values' own methods and the stream may raise anything
            values.pop("exc_info", None)
            try:
                write(self, *map(_text, args), **{name: _text(value) for name, value in values.items()})
            except Exception:  # noqa: BLE001
                dropped.add()

    return write_or_drop


def _text(value: object) -> str:
    try:
        return str(value).encode(errors="backslashreplace").decode()
    except Exception:  # noqa: BLE001
        return f"<{type(value).__name__}>"
