"""A text in JSON or YAML, parsed once: its document, the line of each entry, and the keys that are repeated.

JSON and YAML allow an object to repeat a key, and use its last value. In a file that a person wrote, that is
a mistake.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The longest place that is shown, in characters: a hostile file has many that are as long as itself.
LONGEST_PLACE = 500

#: The longest number in YAML, in characters: `1:1:1...`, base 60, takes a minute if a file is full of it.
LONGEST_NUMBER = 5_000

_REPEATED = "this key is given more than once"
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_STRING = r'"(?:[^"\\]++|\\.)*+"'
#: What matters of a text that is known to be JSON.
_TOKEN = re.compile(
    rf"(?P<key>{_STRING})(?=\s*+:)|(?P<open>[\[{{])|(?P<close>[\]}}])|(?P<line>\r\n?|\n)"
    rf'|(?P<scalar>{_STRING}|[^\s,:\[\]{{}}"]++)'
)

#: Keys and indexes, from the root down.
Path = tuple[str | int, ...]


class Entry:
    """A key of an object with its value, or a value of a list. `line`: of the key, or of the value in a list,
    counted from 1. `inner`: the entries of the value, in the order of the text."""

    __slots__ = ("_last", "inner", "key", "line")

    def __init__(self, key: str | int, line: int, inner: list[Entry]) -> None:
        self.key, self.line, self.inner = key, line, inner
        self._last: dict[str | int, Entry] | None = None

    @property
    def last(self) -> dict[str | int, Entry]:
        """The entries that count, by key or index: of a repeated key the last one."""
        if self._last is None:
            self._last = {inner.key: inner for inner in self.inner}
        return self._last

    def line_of(self, place: str) -> int:
        """Returns the line of a place such as `networks[0].cidr`; if it is missing, that of the entry that
        would contain it. 0 if the text is empty."""
        entry = self
        for name, index in _STEP.findall(place):
            inner = entry.last.get(name or int(index))
            if inner is None:
                break
            entry = inner
        return entry.line


class Unreadable(ValueError):
    """A text that is neither JSON nor YAML. `line`: of the error, 0 if it is not in one line."""

    def __init__(self, reason: str, line: int = 0) -> None:
        super().__init__(reason)
        self.line = line


class Parsed(NamedTuple):
    """`document`: the values, as JSON has them: what only YAML has (dates ...) is text. `root`: the entry of
    the whole text; its line is 0 if the text is empty."""

    document: Any
    root: Entry
    is_json: bool

    def repeated(self) -> Iterator[tuple[str, int, str]]:
        """Yields the place, line and text of each repeated key. The document is not nested deeply."""
        if self.is_json:
            for path, line in _overridden(self.root):
                yield _place(path), line, _REPEATED
            return
        for path, line in _given_again(self.root):
            yield _place(path), line, f"{_REPEATED} (line {line})"


def parse(text: str) -> Parsed:
    """Parses JSON, and what is not JSON as YAML. Raises Unreadable."""
    plain = text.lstrip("\ufeff")
    try:
        return Parsed(msgspec.json.decode(plain), _json_entries(plain), is_json=True)
    except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
        return _parse_yaml(text)


def repeated_in_json(text: str) -> list[tuple[str, str]]:
    """Returns the place and text of each repeated key. `text` is JSON."""
    return [(_place(path), _REPEATED) for path, _ in _overridden(_json_entries(text))]


def _json_entries(text: str) -> Entry:
    """Returns the root of a text that is JSON. Only tokens are matched: YAML's parser would stumble over tabs
    and over keys of more than 1,024 characters, and json's has no positions."""
    outer: list[list[Entry]] = [[]]
    key, line = None, 1
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup
        if kind == "key":
            key = (msgspec.json.decode(token[0]), line)
        elif kind == "close":
            outer.pop()
        elif kind == "line":
            line += 1
        else:
            siblings = outer[-1]
            name, at = key or (len(siblings), line)
            siblings.append(Entry(name, at, []))
            key = None
            if kind == "open":
                outer.append(siblings[-1].inner)
    return outer[0][0]


def _parse_yaml(text: str) -> Parsed:
    """Raises Unreadable."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        document = loader.construct_document(node) if node else None
        plain = msgspec.json.decode(msgspec.json.encode(document))
        root = _yaml_entry(0, node.start_mark, node) if node else Entry(0, 0, [])
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        # ValueError: what looks like a date or a number, and is not one
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        reason = f"neither JSON nor YAML: {' '.join(str(error).split())}"
        raise Unreadable(reason, mark.line + 1 if mark else 0) from None
    return Parsed(plain, root, is_json=False)


class _Loader(yaml.SafeLoader):
    """Refuses aliases: a few lines of them can expand to more than fits into memory."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """PyYAML has no error for values that their tag does not fit: `!!bool perhaps` is a KeyError."""
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > LONGEST_NUMBER:
            reason = f"a number of more than {LONGEST_NUMBER:,} characters"
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark)
        try:
            return super().construct_object(node, deep)
        except (KeyError, IndexError, AttributeError):
            reason = f"the value is not a {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, reason, node.start_mark) from None

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("YAML aliases are not supported: write the value out")
        return super().compose_node(parent, index)


def _yaml_entry(key: str | int, mark: Any, node: yaml.Node) -> Entry:
    inner: list[Entry] = []
    if isinstance(node, yaml.SequenceNode):
        inner = [_yaml_entry(index, value.start_mark, value) for index, value in enumerate(node.value)]
    elif isinstance(node, yaml.MappingNode):
        scalars = [(name, value) for name, value in node.value if isinstance(name, yaml.ScalarNode)]
        inner = [_yaml_entry(name.value, name.start_mark, value) for name, value in scalars]
    return Entry(key, mark.line + 1, inner)


def _given_again(entry: Entry, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """Yields each entry whose key its object has already, in the order of the text."""
    seen = set()
    for inner in entry.inner:
        if inner.key in seen:
            yield (*path, inner.key), inner.line
        seen.add(inner.key)
        if inner.inner:
            yield from _given_again(inner, (*path, inner.key))


def _overridden(entry: Entry, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """Yields each key that an object has more than once: once, before those inside its value, and with the
    line that counts. Values that do not count are left out."""
    if len(entry.last) < len(entry.inner):
        times = Counter(inner.key for inner in entry.inner)
        for key, inner in entry.last.items():
            if times[key] > 1:
                yield (*path, key), inner.line
    for inner in entry.last.values():
        if inner.inner:
            yield from _overridden(inner, (*path, inner.key))


def _place(path: Path) -> str:
    """`networks[0].cidr`, cut if it is long."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step[: LONGEST_PLACE + 1]}" for step in path)
    place = "".join(steps).removeprefix(".")
    return place if len(place) <= LONGEST_PLACE else f"{place[:LONGEST_PLACE]}..."
