"""Bytes <-> events. Pure.

What cannot be read is not an error of the reader: an event of a newer version (unknown type), or one that
somebody published by hand and wrongly, comes back as `Parked` with the reason; the loop counts it, keeps its
place for people to look at, and goes on.
"""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.events import STORED, Event

if TYPE_CHECKING:
    from collections.abc import Callable


class Parked(NamedTuple):
    """A message whose body no reader here understands."""

    reason: str
    body: bytes


class _Tag(msgspec.Struct):
    type: str = ""


#: type as stored -> a function of the raw JSON object that gives the object of the current shape.
#: A type that is here is no longer written by anyone.
UPCASTERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_KNOWN = {event.__name__: event for event in STORED}
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(functools.reduce(operator.or_, STORED))
_CHECKED = frozenset(event for event in STORED if event.flaw is not Event.flaw)
_tag = msgspec.json.Decoder(_Tag)

encode: Callable[[Event], bytes] = _encoder.encode


def decode(body: bytes) -> Event | Parked:
    """The event in `body`, brought to today's shape."""
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _second_look(body, str(error))
    if type(event) in _CHECKED and (reason := event.flaw()):
        return Parked(f"not an event: {reason}", body)
    return event


def _second_look(body: bytes, reason: str) -> Event | Parked:
    try:
        tag = _tag.decode(body).type
        if upcast := UPCASTERS.get(tag):
            return msgspec.convert(upcast(msgspec.json.decode(body)), _decoder.type)
        if tag and tag not in _KNOWN:
            return Parked(f"unknown type {tag!r}: written by a newer version?", body)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        reason = str(error)
    return Parked(f"not an event: {reason}", body)
