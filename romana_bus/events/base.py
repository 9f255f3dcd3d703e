"""The base of all events: subjects and tombstones."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from urllib.parse import quote

import msgspec

#: The most bytes of an event that is written. NATS takes messages of 1 MiB, headers included.
LARGEST = 900_000
#: The largest number that is accepted in an event from outside. As µs, it is far after the year 9999, and the
#: sum of two still fits into 64 bits.
MOST = 1 << 62
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
#: µs since the Unix epoch, or a duration in µs.
Micros = Count
#: A second in µs.
SECOND = 1_000_000

_PLAIN = re.compile(r"[A-Za-z0-9.:-]+\Z")


def token(name: str) -> str:
    """Returns the subject token of a Kubernetes name. `.` becomes `_`, other characters with a meaning in
    NATS are percent-encoded, and an empty name becomes `-`. Two names never have one token."""
    if not name or name == "-":
        return "%2D" if name else "-"
    if _PLAIN.match(name):
        return name.replace(".", "_")
    return quote(name, safe=":").replace("_", "%5F").replace(".", "_")


class Event(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag=True
):
    """The base of all events: a `type` tag in JSON, a subject, and whether it is a tombstone. `role`: the
    stream that has it; '' where several streams do."""

    tombstone: ClassVar[bool] = False
    role: ClassVar[str] = ""

    def subject(self) -> str:
        """The entity's subject, without the cluster's prefix."""
        raise NotImplementedError

    def needed_until(self) -> int:
        """A tombstone says something until this time (µs); 0 if it only says that the entity is gone. It
        stays in the table until then at least, and for `Stream.tombstones`."""
        return 0

    def flaw(self) -> str:
        """What is wrong with the values, or ''. Readers park an event with a flaw, like one that they cannot
        decode."""
        return ""


class LeaderElected(Event, frozen=True, kw_only=True):
    """`holder` writes `stream` from now on. The next publish of its predecessor fails at the fence."""

    stream: str
    term: Count
    holder: str

    def subject(self) -> str:
        return f"{token(self.stream.lower())}.leader"
