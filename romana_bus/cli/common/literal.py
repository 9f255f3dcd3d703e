"""Files that people write: what is in them, and what is said in them twice.

JSON and YAML let an object have a key twice, and the last one wins in silence. Here that is a mistake
like any other, told with its place.
"""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import yaml

from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from pathlib import Path


def content(file: Path, largest: int, why: str) -> bytes:
    """'-' is standard input. At most `largest` bytes are read, whatever it is (a device has no end).
    Raises BadInput."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as source:
            read = source.read(largest + 1)
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: {getattr(error, 'strerror', error)}") from None
    if len(read) > largest:
        raise BadInput(f"{file}: larger than {largest:,} bytes, {why}")
    return read


class _Object(dict[str, Any]):
    repeated: tuple[str, ...] = ()


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        made.repeated = tuple(key for key in made if keys.count(key) > 1)
    return made


def repeated_in_json(text: str) -> list[tuple[str, str]]:
    """Where an object has a key once more, and what to say of it. `text` is JSON. Raises RecursionError."""
    found = []
    left: list[tuple[str, Any]] = [("", json.loads(text, object_pairs_hook=_object))]
    while left:
        place, value = left.pop()
        if isinstance(value, _Object):
            found += [(_join(place, key), "this key is given more than once") for key in value.repeated]
            left += reversed([(_join(place, key), inner) for key, inner in value.items()])
        elif isinstance(value, list):
            left += reversed([(f"{place}[{at}]", inner) for at, inner in enumerate(value)])
    return found


def repeated_in_yaml(node: yaml.Node | None, place: str = "") -> list[tuple[str, str]]:
    """The same of YAML, with its line."""
    if isinstance(node, yaml.SequenceNode):
        parts = [(f"{place}[{at}]", inner, 0) for at, inner in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        parts = [
            (_join(place, key.value), inner, key.start_mark.line + 1)
            for key, inner in node.value
            if isinstance(key, yaml.ScalarNode)
        ]
    else:
        return []
    found, seen = [], set()
    for at, inner, line in parts:
        if at in seen:
            found.append((at, f"this key is given more than once (line {line})"))
        seen.add(at)
        found += repeated_in_yaml(inner, at)
    return found


def deep(value: Any, most: int) -> bool:
    """There are more than `most` lists and objects inside one another."""
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


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key
