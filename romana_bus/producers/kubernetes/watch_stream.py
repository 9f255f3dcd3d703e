"""One watch connection as it is told: chunks of bytes in, events for the log out. Pure.

A line that cannot be read, or an ERROR, ends the story: what came before it counts, and the trouble says what
to do next. An object that is well-formed and yet of no use is stepped over, and said.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.lines import Lines
from romana_bus.producers.kubernetes.objects import Meta, Shape, WatchEvent
from romana_bus.producers.kubernetes.responses import SAID, Action, Verdict, classify

if TYPE_CHECKING:
    from romana_bus.events import Event
    from romana_bus.producers.kubernetes.objects import Kind
    from romana_bus.producers.kubernetes.observe import Watched

#: The annotation of the bookmark that ends the initial events of a streaming list (KEP-3157).
INITIAL_END = "k8s.io/initial-events-end"
#: As API servers write a watch event. What comes behind its object would be a second key of that name.
_USUAL = re.compile(rb'\{"type":"([A-Z]{1,16})","object":(?=\{)')
#: Bytes at the beginning of an object in which its version stands, where nothing else of it can be read.
_HEAD = 1 << 16
_VERSION = re.compile(rb'"resourceVersion":"([0-9]{1,20})"')


class Reported(NamedTuple):
    """What a chunk had to say; `trouble` where the connection is of no use any more."""

    events: list[Event]
    trouble: Verdict | None = None


class _Bookmark(Shape, frozen=True):
    metadata: Meta


class _Garbage(Exception):
    """A line that is no watch event."""


_bookmark = msgspec.json.Decoder(_Bookmark)
_any = msgspec.json.Decoder(WatchEvent[msgspec.Raw])


class WatchStream:
    """`listing`: initial events come first (a streaming list). `lines`: how many have been read. `now`:
    seconds, of a clock that never goes back; whoever feeds sets it."""

    def __init__(self, kind: Kind, state: Watched, listing: bool = False) -> None:
        self.listing, self.lines, self.now = listing, 0, 0.0
        self._kind, self._state = kind, state
        self._cut = Lines()
        self._decode = kind.item.decode

    def feed(self, chunk: bytes) -> Reported:
        events: list[Event] = []
        try:
            for line in self._cut.feed(chunk):
                self._cut.offset += len(line) + 1
                self.lines += 1
                if line and (trouble := self._line(line, events)):
                    return Reported(events, trouble)
        except (_Garbage, ValueError) as error:
            place = f"at byte {self._cut.offset} behind version {self._state.of(self._kind.name).place}"
            return Reported(events, Verdict(Action.RETRY, f"no watch event {place}: {error}"[: 2 * SAID]))
        return Reported(events)

    def _line(self, line: bytes, events: list[Event]) -> Verdict | None:
        """Raises _Garbage."""
        usual = _USUAL.match(line) if line.endswith(b"}}") else None
        if usual and line.count(b'"resourceVersion":') <= 1:
            kind, raw = usual[1].decode(), line[usual.end() : -1]
        else:
            kind, raw = _taken_apart(line)
        if kind in ("ADDED", "MODIFIED", "DELETED"):
            self._object(kind, raw, events)
            return None
        if kind == "BOOKMARK":
            return self._mark(raw, events)
        if kind == "ERROR":
            return classify(0, {}, raw, self._kind, "watch")
        raise _Garbage(f"a watch event of type {kind!r}: {shown(line)}")

    def _object(self, type: str, raw: bytes, events: list[Event]) -> None:
        """Raises _Garbage where it is no JSON."""
        try:
            item = self._decode(raw)
            tell = observe.initial if self.listing else observe.changed
            events += tell(self._state, self._kind, type, item, self.now)
        except (msgspec.ValidationError, RecursionError, ValueError, TypeError) as error:
            broken = isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError)
            if broken or isinstance(error, UnicodeDecodeError):
                raise _Garbage(f"{error}: {shown(raw)}") from None
            self._step_over(raw, f"{type}, {error}")

    def _step_over(self, raw: bytes, why: str) -> None:
        """To ask for it again would give it again. Raises _Garbage where it has no version to go on from."""
        version = _VERSION.search(raw, 0, _HEAD)
        if version is None:
            raise _Garbage(f"{why}: {shown(raw)}")
        observe.unread(self._state, self._kind, "", f"at version {version[1].decode()}: {why[:200]}")
        observe.bookmark(self._state, self._kind, version[1].decode(), self.now)

    def _mark(self, raw: bytes, events: list[Event]) -> Verdict | None:
        """Raises _Garbage."""
        try:
            meta = _bookmark.decode(raw).metadata
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _Garbage(f"{error}: {shown(raw)}") from None
        if not self.listing:
            events += observe.bookmark(self._state, self._kind, meta.resource_version, self.now)
        elif (meta.annotations or {}).get(INITIAL_END) == "true":
            if behind := observe.went_back(self._state, self._kind, meta.resource_version):
                return Verdict(Action.RELIST, behind)
            self.listing = False
            events += observe.end_listing(self._state, self._kind, meta.resource_version, self.now)
        return None


def _taken_apart(line: bytes) -> tuple[str, bytes]:
    """The type and the object of a line that is not as usual. Raises _Garbage; also where a key stands twice:
    which of the two counts, nobody can tell."""
    try:
        event = _any.decode(line)
        json.loads(line, object_pairs_hook=_once, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise _Garbage(f"{error}: {shown(line)}") from None
    return event.type, bytes(event.object)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key that stands twice")
    return found


def shown(body: bytes) -> str:
    """The beginning of something that cannot be read, for a message."""
    return repr(body[:120].decode(errors="replace")) + ("..." if len(body) > 120 else "")
