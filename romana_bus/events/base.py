"""What is common to all events: roles, subjects, tombstones."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar
from urllib.parse import quote

import msgspec

#: The largest number in an event that is believed: what comes from outside has no other bound. As µs, it is
#: far behind the year 9999, and two of them still fit into 64 bits.
MOST = 1 << 62
Count = Annotated[int, msgspec.Meta(ge=0, le=MOST)]
#: µs since the Unix epoch, or a duration in µs.
Micros = Count

#: The log's roles: one stream each, one writer each (SPEC and NODE: one writer per subject).
KUBE, SPEC, IPAM, NODE = "KUBE", "SPEC", "IPAM", "NODE"

_PLAIN = re.compile(r"[A-Za-z0-9.:-]+\Z")


def token(name: str) -> str:
    """One subject token for a Kubernetes name: `.` is written `_`, anything that NATS could read as
    more than a name is percent-encoded; no name at all is `-`. Two names never give one token."""
    if not name or name == "-":
        return "%2D" if name else "-"
    if _PLAIN.match(name):
        return name.replace(".", "_")
    return quote(name, safe=":").replace("_", "%5F").replace(".", "_")


class Event(
    msgspec.Struct, frozen=True, kw_only=True, gc=False, omit_defaults=True, tag_field="type", tag=True
):
    """What is common to all: a `type` tag in JSON, a subject, and whether it is a tombstone."""

    tombstone: ClassVar[bool] = False
    role: ClassVar[str] = ""

    def subject(self) -> str:
        """The entity's subject, without the cluster's prefix."""
        raise NotImplementedError

    def needed_until(self) -> int:
        """A tombstone that still says something until then (µs) stays in the table as long."""
        return 0

    def flaw(self) -> str:
        """What is wrong in it that its types cannot say, or ''. One that has a flaw is parked by whoever
        reads it, as if it could not be read."""
        return ""


class LeaderElected(Event, frozen=True, kw_only=True):
    """`holder` writes `stream` from here on. Its predecessor's next publish fails at the fence."""

    stream: str
    term: Count
    holder: str

    def subject(self) -> str:
        return f"{token(self.stream.lower())}.leader"
