"""A topology's file: JSON or YAML, in whole or not at all."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import yaml

from romana_bus.cli.lines import Lines
from romana_bus.errors import BadInput
from romana_bus.ipam.document import Reader

#: As JSON it has to fit into one message.
LARGEST = 900_000


class Source(NamedTuple):
    """A file that was read. `document` is as it is stored: what YAML has and JSON has not (dates ...) is
    text."""

    name: str
    text: str
    document: dict[str, Any]


def read(file: Path) -> Source:
    """Raises BadInput."""
    text = _text(file)
    try:
        document = msgspec.json.decode(text.lstrip("\ufeff"))
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        document = _yaml(file, text)
    if not isinstance(document, dict):
        raise BadInput(f"{file}: an object with `networks` and `topologies` is expected")
    return Source(str(file), text, document)


def _text(file: Path) -> str:
    """At most what one message holds is read, whatever it is (a device has no end)."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as source:
            read = source.read(LARGEST + 1)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    if len(read) > LARGEST:
        raise BadInput(f"{file}: larger than {LARGEST:,} bytes, the most that a topology may have")
    try:
        return read.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: no text in UTF-8 (byte {error.start})") from None


def _yaml(file: Path, text: str) -> Any:
    """ValueError: a date or a number that YAML takes for one, and that is none."""
    try:
        return msgspec.json.decode(msgspec.json.encode(yaml.load(text, Loader=_Loader)))
    except RecursionError:
        raise BadInput(f"{file}: nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise BadInput(f"{file}: neither JSON nor YAML: {' '.join(str(error).split())}") from None


class _Loader(yaml.SafeLoader):
    """No aliases: a few lines of them unfold to more than any machine holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not taken: write the value out")
        return super().compose_node(parent, index)


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


def look(source: Source) -> tuple[Reader, list[Finding]]:
    """What the document makes, and all that is wrong with it, by its place in the file."""
    reader = Reader(source.document)
    lines = Lines(source.text)
    found = [
        Finding(lines.of(problem.place), *problem, severity)
        for severity, problems in (("error", reader.problems), ("warning", reader.warnings))
        for problem in problems
    ]
    return reader, found


def refuse(source: Source) -> list[Finding]:
    """The warnings, if there is nothing worse. Raises BadInput."""
    _, found = look(source)
    errors = [finding.said(source.name) for finding in found if finding.severity == "error"]
    if errors:
        raise BadInput(*errors)
    return found


def checked(source: Source) -> None:
    """What is odd about the document is said on stderr. Raises BadInput."""
    for finding in refuse(source):
        sys.stderr.write(f"romana-bus: {finding.said(source.name)}\n")
