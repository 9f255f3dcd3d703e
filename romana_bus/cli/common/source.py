"""A topology's file with its text, so that whatever is wrong in it is told with its line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from romana_bus.cli.common.file import content, decoded
from romana_bus.cli.common.lines import Lines
from romana_bus.cli.common.terminal import print_error
from romana_bus.errors import BadInput
from romana_bus.ipam.topology.document import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from romana_bus.ipam.topology.networks import Network
    from romana_bus.ipam.topology.tree import Problem


class Finding(NamedTuple):
    """Something wrong with a document, or (a warning) odd. `line`: 0 where the file cannot tell."""

    line: int
    place: str
    kind: str
    text: str
    severity: str

    def said(self, name: str) -> str:
        """`FILE:LINE: PLACE: TEXT`, as far as there is one."""
        head = f"{name}:{self.line}" if self.line else name
        warning = "warning: " if self.severity == "warning" else ""
        return ": ".join(filter(None, (head, self.place, warning + self.text)))


class BadFile(BadInput):
    """A file that cannot be used. `found`: all that is wrong with it."""

    def __init__(self, name: str, found: list[Finding]) -> None:
        super().__init__(*(finding.said(name) for finding in found))
        self.found = found


class Source(NamedTuple):
    """A file that was read. `document` is as it is stored."""

    name: str
    text: str
    document: dict[str, Any]


class Look(NamedTuple):
    """What a document makes, and all that is wrong with it."""

    networks: list[Network]
    found: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.found if finding.severity == "error"]


def opened(file: Path) -> tuple[Source | None, list[Finding]]:
    """The file, or why it says nothing."""
    text = ""
    try:
        text = content(file)
        return Source(str(file), text, decoded(file, text)), []
    except BadInput as error:
        if problems := getattr(error, "problems", ()):
            return None, _findings(Lines(text), "error", problems)
        line = _stumbled(error)
        reasons = (reason.removeprefix(f"{file}: ") for reason in error.reasons)
        return None, [Finding(line, "", "bad_document", reason, "error") for reason in reasons]


def _stumbled(error: BaseException) -> int:
    """Where the reader of YAML did."""
    cause = error.__context__
    mark = cause.problem_mark if isinstance(cause, yaml.MarkedYAMLError) else None
    return mark.line + 1 if mark else 0


def look(source: Source) -> Look:
    """All at once, each by its place in the file."""
    reader, lines = Reader(source.document), Lines(source.text)
    errors = _findings(lines, "error", reader.problems)
    return Look(reader.networks, errors + _findings(lines, "warning", reader.warnings))


def _findings(lines: Lines, severity: str, problems: Iterable[Problem]) -> list[Finding]:
    return [Finding(lines.of(problem.place), *problem, severity) for problem in problems]


def refuse(source: Source) -> Look:
    """Raises BadFile where there is more than warnings."""
    seen = look(source)
    if errors := seen.errors:
        raise BadFile(source.name, errors)
    return seen


def checked(file: Path) -> Source:
    """A good one; what is odd about it is said on stderr. Raises BadFile."""
    source, found = opened(file)
    if source is None:
        raise BadFile(str(file), found)
    for finding in refuse(source).found:
        print_error(finding.said(source.name))
    return source
