"""A topology's file: JSON or YAML, in whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from romana_bus.cli.common import literal
from romana_bus.cli.common.terminal import print_error
from romana_bus.errors import BadInput
from romana_bus.ipam.topology.document import BadTopology, Reader
from romana_bus.ipam.topology.networks import Topology
from romana_bus.ipam.topology.tree import Problem

#: As JSON it has to fit into one message.
LARGEST = 900_000
#: Lists and objects inside one another. The deepest tree of groups has fewer.
DEEPEST = 100


class BadDocument(BadInput):
    """A document that was read, and cannot be used. `problems`: all of them."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        super().__init__(*(f"{name}: {reason}" for reason in BadTopology(problems).reasons))
        self.problems = problems


def read(file: Path) -> dict[str, Any]:
    """As it is stored: what YAML has and JSON has not (dates ...) is text. Raises BadInput."""
    return decoded(file, content(file))


def content(file: Path) -> str:
    """Raises BadInput."""
    return _text(file)


def decoded(file: Path, text: str) -> dict[str, Any]:
    """What `file` says, whose text is known. Raises BadInput."""
    try:
        document = msgspec.json.decode(text.lstrip("\ufeff"))
        twice = literal.repeated_in_json(text.lstrip("\ufeff"))
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        document, twice = _yaml(file, text)
    if not isinstance(document, dict):
        raise BadInput(f"{file}: an object with `networks` and `topologies` is expected")
    if literal.deep(document, DEEPEST):
        raise BadInput(f"{file}: nested too deeply")
    if twice:
        problems = [Problem(place, "repeated_key", said) for place, said in twice]
        raise BadDocument(str(file), problems + Reader(document).problems)
    return document


def _text(file: Path) -> str:
    read = literal.content(file, LARGEST, "the most that a topology may have")
    try:
        return read.decode()
    except UnicodeDecodeError as error:
        raise BadInput(f"{file}: no text in UTF-8 (byte {error.start})") from None


def _yaml(file: Path, text: str) -> tuple[Any, list[tuple[str, str]]]:
    """ValueError: a date or a number that YAML takes for one, and that is none."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document = loader.construct_document(node) if node else None
        return msgspec.json.decode(msgspec.json.encode(document)), literal.repeated_in_yaml(node)
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


def checked(document: dict[str, Any], name: str) -> Topology:
    """The topology, if the document is good; what is odd about it is said on stderr. Raises BadInput."""
    reader = Reader(document)
    for warning in reader.warnings:
        print_error(f"{name}: {warning.place}: {warning.text}")
    if reader.problems:
        raise BadDocument(name, reader.problems)
    return Topology(reader.networks)
