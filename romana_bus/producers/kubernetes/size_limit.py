"""Makes a fact fit into a message. Pure.

Objects of an API server may be larger or deeper than the log accepts, or have names that it does not accept.
Labels and annotations that do not fit are left out; an object that cannot be published at all is skipped.
Both are reported.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from romana_bus.events import Fact, ObjectSeen, PolicySeen, codec
from romana_bus.events.base import LARGEST

#: The most characters of a name or namespace (RFC 1123 subdomains), and of a uid plus a version.
NAME, COUNTED = 253, 128
#: Labels that are kept first if an object has too many: selectors mostly use these.
FIRST = ("romana.io/", "topology.kubernetes.io/", "kubernetes.io/", "node.kubernetes.io/")


#: Facts with fewer bytes need no further check, unless they contain nested objects.
PLAIN = 8192
NESTED = (ObjectSeen, PolicySeen)


class Unusable(NamedTuple):
    """An object's key, and what is wrong with it."""

    key: str
    why: str


#: The fact, its encoded body (b'' if it cannot be published), and what is wrong with it, if anything.
Fitted = tuple[Fact, bytes, Unusable | None]


def fitted(fact: Fact, key: str) -> Fitted:
    """The fact, made to fit. `key`: the fact's."""
    try:
        body = codec.encode(fact)
    except (RecursionError, OverflowError, ValueError, TypeError) as error:
        return fact, b"", Unusable(key[:NAME], f"it cannot be encoded: {error}")
    usual = (
        len(body) < PLAIN
        and len(key) <= NAME
        and key.count("/") == 1
        and key[-1] != "/"
        and len(fact.uid) + len(fact.resource_version) <= COUNTED
        and type(fact) not in NESTED
    )
    return (fact, body, None) if usual else _checked(fact, key, body)


def _checked(fact: Fact, key: str, body: bytes) -> Fitted:
    if reason := _odd(fact):
        return fact, b"", Unusable(key[:NAME], reason)
    if len(body) > LARGEST:
        return _cut(fact, key, len(body))
    if reason := codec.unbounded(body):
        return fact, b"", Unusable(key, reason)
    return fact, body, None


def _odd(fact: Fact) -> str:
    """Why its name is not valid, or ''."""
    namespace = getattr(fact, "namespace", "")
    if not fact.name or len(fact.name) > NAME or len(namespace) > NAME:
        return f"a name of {len(fact.name)} characters in a namespace of {len(namespace)}"
    if max(len(fact.uid), len(fact.resource_version)) > COUNTED:
        return f"a uid or version of more than {COUNTED} characters"
    if "/" in fact.name or "/" in namespace:
        return "a '/' in its name"
    return ""


def _cut(fact: Fact, key: str, size: int) -> Fitted:
    """The fact with fewer labels and, if that is not enough, fewer annotations."""
    said = f"{size:,} bytes, of {LARGEST:,} at most"
    for field in ("labels", "annotations"):
        if values := getattr(fact, field, None):
            fact = msgspec.structs.replace(fact, **{field: _some(values)})
            body = codec.encode(fact)
            if len(body) <= LARGEST:
                kept = len(getattr(fact, field))
                why = f"{said}: {kept:,} of its {len(values):,} {field} are published"
                return fact, body, Unusable(key, why)
    return fact, b"", Unusable(key, f"{said}: it is left out")


def _some(values: dict[str, str]) -> dict[str, str]:
    """As many of the values as fit into half of a message: those in FIRST, then the shortest."""

    def rank(key: str) -> tuple[int, int, str]:
        first = next((index for index, prefix in enumerate(FIRST) if key.startswith(prefix)), len(FIRST))
        return first, len(key) + len(values[key]), key

    kept: dict[str, str] = {}
    room = LARGEST // 2
    for key in sorted(values, key=rank):
        room -= len(key.encode()) + len(values[key].encode()) + 6
        if room < 0:
            break
        kept[key] = values[key]
    return kept
