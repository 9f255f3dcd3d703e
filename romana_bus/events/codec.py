"""Encodes and decodes events. Pure.

A message that cannot be decoded is returned as `Parked` with the reason, and is not an error: it may be an
event of a newer version (unknown type), one that was published by hand, or bytes meant to do harm. The loop
counts it, notes its place, and goes on.

Size and depth are checked before decoding, against constants: so either all replicas park a message or none.
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

#: The largest body that is decoded, in bytes. No server is configured to accept larger messages.
LARGEST = 8 << 20
#: How deep arrays and objects may be nested. Kubernetes objects have up to about 60 levels (schemas of custom
#: resources). The interpreter's limit is 1,000, less what is on the stack.
DEEPEST = 200
#: Characters of a reason that are kept: a reason can quote the message.
REASON = 300


class Parked(NamedTuple):
    """A message that cannot be decoded."""

    reason: str
    body: bytes


class _Tag(msgspec.Struct):
    type: str = ""


#: Stored type -> a function that turns its raw JSON object into one of the current type. A type listed here
#: is no longer written.
UPCASTERS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {}

_KNOWN = {event.__name__: event for event in STORED}
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(functools.reduce(operator.or_, STORED))
_CHECKED = frozenset(event for event in STORED if event.flaw is not Event.flaw)
_tag = msgspec.json.Decoder(_Tag)

encode: Callable[[Event], bytes] = _encoder.encode


def decode(body: bytes) -> Event | Parked:
    """Returns the event in `body`, upcast to a current type. Never raises."""
    if reason := unbounded(body):
        return Parked(f"not an event: {reason}", body)
    try:
        event = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return _decode_other(body, str(error))
    if type(event) in _CHECKED and (reason := event.flaw()):
        return _parked(f"not an event: {reason}", body)
    return event


def unbounded(body: bytes) -> str:
    """Why this JSON must not be decoded, or ''."""
    if len(body) > LARGEST:
        return f"{len(body):,} bytes, more than {LARGEST:,}"
    if body.count(b"[") + body.count(b"{") > DEEPEST and (depth := _depth(body)) > DEEPEST:
        return f"nested {depth} deep, more than {DEEPEST}"
    return ""


#: A string, or the beginning of a string that does not end.
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_OTHERS = bytes(byte for byte in range(256) if byte not in _STEPS)


def _depth(body: bytes) -> int:
    brackets = _STRING.sub(b"", body).translate(None, _OTHERS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _decode_other(body: bytes, reason: str) -> Event | Parked:
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
