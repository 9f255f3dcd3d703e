"""Parses one watch connection: chunks of bytes in, events for the log out. Pure.

An unreadable line, or an ERROR, ends the stream: the events before it count, and `trouble` says what to do
next. An object that is valid JSON but cannot be used is skipped and reported.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.objects import Meta, Shape, WatchEvent
from romana_bus.producers.kubernetes.responses import SAID, Action, Verdict, classify

if TYPE_CHECKING:
    from romana_bus.events import Event
    from romana_bus.producers.kubernetes.objects import Kind
    from romana_bus.producers.kubernetes.progress import Watched

#: The longest line, bytes: an object has at most 1.5 MiB in etcd, or a little more if that limit was raised.
LONGEST = 16 << 20
#: The annotation of the bookmark that ends the initial events of a streaming list (KEP-3157).
INITIAL_END = "k8s.io/initial-events-end"
#: A watch event as API servers write it. After the object nothing may follow but the closing brace.
_USUAL = re.compile(rb'\{"type":"([A-Z]{1,16})","object":(?=\{)')
#: The version of an unreadable object is searched for in this many bytes.
_HEAD = 1 << 16
_VERSION = re.compile(rb'"resourceVersion":"([0-9]{1,20})"')


class Lines:
    """Splits chunks of bytes into lines. `offset`: bytes of the lines that were returned so far."""

    def __init__(self) -> None:
        self.offset = 0
        self._rest: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """The lines that `chunk` completes, without their ends. Raises ValueError for a line that is too
        long."""
        if b"\n" not in chunk:
            self._rest.append(chunk)
            self._size += len(chunk)
            if self._size > LONGEST:
                raise ValueError(f"a line of more than {LONGEST >> 20} MiB")
            return []
        *lines, rest = chunk.split(b"\n")
        if self._rest:
            lines[0] = b"".join([*self._rest, lines[0]])
        self._rest, self._size = ([rest], len(rest)) if rest else ([], 0)
        return lines

    @property
    def pending(self) -> int:
        """Bytes of the unfinished line: more than 0 if a connection was lost in the middle of one."""
        return self._size


class Reported(NamedTuple):
    """The events of a chunk. `trouble`: why the connection cannot be used any more, and what to do."""

    events: list[Event]
    trouble: Verdict | None = None


class _Bookmark(Shape, frozen=True):
    metadata: Meta


class _Unreadable(Exception):
    """A line that is not a watch event."""


_bookmark = msgspec.json.Decoder(_Bookmark)
_any = msgspec.json.Decoder(WatchEvent[msgspec.Raw])


class WatchStream:
    """One connection. `listing`: the initial events of a streaming list are not complete yet. `lines`: how
    many were read. `now`: seconds of a clock that never goes back, set by the caller of `feed`."""

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
        except (_Unreadable, ValueError) as error:
            place = f"at byte {self._cut.offset} behind version {self._state.of(self._kind.name).place}"
            return Reported(events, Verdict(Action.RETRY, f"not a watch event, {place}: {error}"[: 2 * SAID]))
        return Reported(events)

    def _line(self, line: bytes, events: list[Event]) -> Verdict | None:
        """Raises _Unreadable."""
        usual = _USUAL.match(line) if line.endswith(b"}}") else None
        if usual and line.count(b'"resourceVersion":') <= 1:
            kind, raw = usual[1].decode(), line[usual.end() : -1]
        else:
            kind, raw = _split_slowly(line)
        if kind in ("ADDED", "MODIFIED", "DELETED"):
            self._object(kind, raw, events)
            return None
        if kind == "BOOKMARK":
            return self._mark(raw, events)
        if kind == "ERROR":
            return classify(0, {}, raw, self._kind, "watch")
        raise _Unreadable(f"a watch event of type {kind!r}: {shown(line)}")

    def _object(self, type: str, raw: bytes, events: list[Event]) -> None:
        """Raises _Unreadable if it is not JSON."""
        try:
            item = self._decode(raw)
            tell = observe.initial if self.listing else observe.changed
            events += tell(self._state, self._kind, type, item, self.now)
        except (msgspec.ValidationError, RecursionError, ValueError, TypeError) as error:
            broken = isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError)
            if broken or isinstance(error, UnicodeDecodeError):
                raise _Unreadable(f"{error}: {shown(raw)}") from None
            self._step_over(raw, f"{type}, {error}")

    def _step_over(self, raw: bytes, why: str) -> None:
        """Skip an object, since requesting it again would return the same. Raises _Unreadable if it has no
        version to continue from."""
        version = _VERSION.search(raw, 0, _HEAD)
        if version is None:
            raise _Unreadable(f"{why}: {shown(raw)}")
        observe.unread(self._state, self._kind, "", f"at version {version[1].decode()}: {why[:200]}")
        observe.bookmark(self._state, self._kind, version[1].decode(), self.now)

    def _mark(self, raw: bytes, events: list[Event]) -> Verdict | None:
        """Raises _Unreadable."""
        try:
            meta = _bookmark.decode(raw).metadata
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise _Unreadable(f"{error}: {shown(raw)}") from None
        if not self.listing:
            events += observe.bookmark(self._state, self._kind, meta.resource_version, self.now)
        elif (meta.annotations or {}).get(INITIAL_END) == "true":
            if behind := observe.rewound_to(self._state, self._kind, meta.resource_version):
                return Verdict(Action.RELIST, behind)
            self.listing = False
            events += observe.end_listing(self._state, self._kind, meta.resource_version, self.now)
        return None


def _split_slowly(line: bytes) -> tuple[str, bytes]:
    """The type and the object of an unusual line. Raises _Unreadable, also for a duplicate key, of which it
    is not known which one counts."""
    try:
        event = _any.decode(line)
        json.loads(line, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"{error}: {shown(line)}") from None
    return event.type, bytes(event.object)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        raise ValueError("a duplicate key")
    return result


def shown(body: bytes) -> str:
    """The beginning of unreadable bytes, for an error message."""
    return repr(body[:120].decode(errors="replace")) + ("..." if len(body) > 120 else "")
