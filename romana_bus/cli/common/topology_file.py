"""A topology file: JSON or YAML, used whole or not at all. Everything wrong in it is shown with its line."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.cli.common.positions import Entry, Unreadable, parse
from romana_bus.cli.common.terminal import print_error
from romana_bus.errors import BadInput
from romana_bus.events.base import LARGEST
from romana_bus.ipam.topology.document import Reader

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from romana_bus.ipam.topology.networks import Network
    from romana_bus.ipam.topology.tree import Problem

#: Lists and objects inside one another. The deepest tree of groups has fewer.
DEEPEST = 100


class Finding(NamedTuple):
    """An error or a warning about a document. `line`: counted from 1, 0 if it is about no one line. `place`:
    such as `networks[0].cidr`, '' for the whole file. `kind`: for programs. `severity`: error or warning."""

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
    """A file that was read. `document`: as it is stored. `root`: the lines of its entries."""

    name: str
    document: dict[str, Any]
    root: Entry


class Checked(NamedTuple):
    """What a document makes, and all that is wrong with it."""

    networks: list[Network]
    found: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.found if finding.severity == "error"]


def read(file: Path) -> Source:
    """Reads a file whose networks may still be wrong. Raises BadFile."""
    try:
        document, root, repeated = _document(_text(file))
    except Unreadable as error:
        raise BadFile(str(file), [Finding(error.line, "", "bad_document", str(error), "error")]) from None
    if repeated:
        reader = Reader(document)
        found = _findings(root, "error", reader.problems + reader.refusals)
        raise BadFile(str(file), repeated + found)
    return Source(str(file), document, root)


def _text(file: Path) -> str:
    """Raises Unreadable."""
    try:
        return read_bytes(file, LARGEST, "the most that a topology may have").decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8 text (byte {error.start})") from None
    except ValueError as error:
        raise Unreadable(str(error)) from None


def _document(text: str) -> tuple[dict[str, Any], Entry, list[Finding]]:
    """Returns the document, the lines of its entries, and the keys that are repeated. Raises Unreadable."""
    parsed = parse(text)
    if not isinstance(parsed.document, dict):
        raise Unreadable("an object with `networks` and `topologies` is expected")
    if deep(parsed.document, DEEPEST):
        raise Unreadable("nested too deeply")
    repeated = [
        Finding(line, place, "repeated_key", text, "error") for place, line, text in parsed.repeated()
    ]
    return parsed.document, parsed.root, repeated


def read_bytes(file: Path, largest: int, why: str) -> bytes:
    """Reads a whole file; '-' is standard input. At most `largest` bytes are read, whatever the file is (a
    device has no end). Raises ValueError."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as source:
            read = source.read(largest + 1)
    except (OSError, ValueError) as error:
        raise ValueError(getattr(error, "strerror", error)) from None
    if len(read) > largest:
        raise ValueError(f"larger than {largest:,} bytes, {why}")
    return read


def deep(value: Any, most: int) -> bool:
    """Whether more than `most` lists and objects are inside one another."""
    level = [value]
    for _ in range(most):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def check_document(source: Source) -> Checked:
    """Returns what the document makes, and all that is wrong with it, each with its line."""
    reader = Reader(source.document)
    errors = _findings(source.root, "error", reader.problems + reader.refusals)
    return Checked(reader.networks, errors + _findings(source.root, "warning", reader.warnings))


def _findings(root: Entry, severity: str, problems: Iterable[Problem]) -> list[Finding]:
    return [Finding(root.line_of(problem.place), *problem, severity) for problem in problems]


def refuse(source: Source) -> Checked:
    """The same as `check_document`. Raises BadFile if there are errors."""
    seen = check_document(source)
    if errors := seen.errors:
        raise BadFile(source.name, errors)
    return seen


def checked(file: Path) -> Source:
    """Reads a file that can be used, and prints its warnings on stderr. Raises BadFile."""
    source = read(file)
    for finding in refuse(source).found:
        print_error(finding.said(source.name))
    return source
