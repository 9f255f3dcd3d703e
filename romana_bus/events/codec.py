"""Bytes <-> events. Pure.

What cannot be read is not an error of the reader: an event of a newer version (unknown type), one that
somebody published by hand and wrongly, or bytes that are made to do harm come back as `Parked` with the
reason; the loop counts it, keeps its place for people to look at, and goes on.

Bytes are bounded before they are decoded, by numbers that do not depend on who decodes: of two replicas,
both park a message or none does.
"""

from __future__ import annotations

import functools
import operator
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.events import STORED, Event

if TYPE_CHECKING:
    from collections.abc import Callable

#: Bytes of a body that is decoded at all: no server is configured to take larger messages.
LARGEST = 8 << 20
#: How deep arrays and objects may be nested. Kubernetes objects go to about 60 (the schemas of custom
#: resources); the interpreter's own limit is 1,000 less what is on the stack already.
DEEPEST = 200
#: Characters of a reason that are kept: it may quote what it is about.
REASON = 300


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
    """The event in `body`, brought to today's shape. Never raises."""
    if reason := unbounded(body):
        return Parked(f"not an event: {reason}", body)
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _second_look(body, str(error))
    if type(event) in _CHECKED and (reason := event.flaw()):
        return _parked(f"not an event: {reason}", body)
    return event


def unbounded(body: bytes) -> str:
    """Why nobody should decode this JSON, or ''."""
    if len(body) > LARGEST:
        return f"{len(body):,} bytes, and {LARGEST:,} are the most"
    if body.count(b"[") + body.count(b"{") > DEEPEST and (depth := _depth(body)) > DEEPEST:
        return f"nested {depth} deep, and {DEEPEST} is the most"
    return ""


#: A string, or the beginning of one that does not end.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS = bytes(byte for byte in range(256) if byte not in _STEPS)


def _depth(body: bytes) -> int:
    brackets = _STRING.sub(b"", body).translate(None, _OTHERS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _second_look(body: bytes, reason: str) -> Event | Parked:
    try:
        tag = _tag.decode(body).type
        if upcast := UPCASTERS.get(tag):
            return msgspec.convert(upcast(msgspec.json.decode(body)), _decoder.type)
        if tag and tag not in _KNOWN:
            return _parked(f"unknown type {tag!r}: written by a newer version?", body)
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        reason = str(error)
    return _parked(f"not an event: {reason}", body)


def _parked(reason: str, body: bytes) -> Parked:
    return Parked(reason if len(reason) <= REASON else reason[:REASON] + "...", body)
