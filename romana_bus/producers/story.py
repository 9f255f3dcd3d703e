"""One watch connection as it is told: chunks of bytes in, events for the log out. Pure.

A line that makes no sense, or an ERROR, ends the story: what came before it counts, and the trouble says
what to do next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.producers import observe
from romana_bus.producers.answers import Do, Verdict, judge
from romana_bus.producers.lines import Lines
from romana_bus.producers.shapes import Meta, Shape, WatchEvent

if TYPE_CHECKING:
    from romana_bus.events import Event
    from romana_bus.producers.observe import Watched
    from romana_bus.producers.shapes import Kind

#: The annotation of the bookmark that ends the initial events of a streaming list (KEP-3157).
INITIAL_END = "k8s.io/initial-events-end"


class Told(NamedTuple):
    """What a chunk had to say; `trouble` where the connection is of no use any more."""

    events: list[Event]
    trouble: Verdict | None = None


class _Bookmark(Shape, frozen=True):
    metadata: Meta


class _Garbage(Exception):
    """A line that is no watch event."""


_bookmark = msgspec.json.Decoder(WatchEvent[_Bookmark])
_any = msgspec.json.Decoder(WatchEvent[msgspec.Raw])


class Story:
    """`listing`: initial events come first (a streaming list). `lines`: how many have been read."""

    def __init__(self, kind: Kind, state: Watched, listing: bool = False) -> None:
        self.listing, self.lines = listing, 0
        self._kind, self._state = kind, state
        self._cut = Lines()
        self._decode = kind.events.decode

    def feed(self, chunk: bytes) -> Told:
        events: list[Event] = []
        try:
            for line in self._cut.feed(chunk):
                self._cut.offset += len(line) + 1
                self.lines += 1
                if line and (trouble := self._line(line, events)):
                    return Told(events, trouble)
        except (_Garbage, ValueError) as error:
            place = f"at byte {self._cut.offset} behind version {self._state.of(self._kind.name).version}"
            return Told(events, Verdict(Do.RETRY, f"no watch event {place}: {error}"))
        return Told(events)

    def _line(self, line: bytes, events: list[Event]) -> Verdict | None:
        try:
            event: Any = self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._other(line, error)  # an ERROR carries a Status, which fits no kind
        try:
            if event.type == "BOOKMARK":
                return self._mark(line, events)
            events += observe.changed(self._state, self._kind, event.type, event.object)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise _Garbage(f"{type(error).__name__} {error}: {shown(line)}") from None
        return None

    def _other(self, line: bytes, error: Exception) -> Verdict | None:
        try:
            event = _any.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise _Garbage(f"{error}: {shown(line)}") from None
        if event.type == "BOOKMARK":
            return self._mark(line, [])
        if event.type != "ERROR":
            raise _Garbage(f"{error}: {shown(line)}")
        status = bytes(event.object)
        return judge(0, {}, status, self._kind, "watch")

    def _mark(self, line: bytes, events: list[Event]) -> Verdict | None:
        meta = _bookmark.decode(line).object.metadata
        if not self.listing:
            events += observe.bookmark(self._state, self._kind, meta.resource_version)
        elif (meta.annotations or {}).get(INITIAL_END) == "true":
            if behind := observe.went_back(self._state, self._kind, meta.resource_version):
                return Verdict(Do.RELIST, behind)
            self.listing = False
            events += observe.end_listing(self._state, self._kind, meta.resource_version)
        return None


def shown(body: bytes) -> str:
    """The beginning of something that cannot be read, for a message."""
    return repr(body[:120].decode(errors="replace")) + ("..." if len(body) > 120 else "")
