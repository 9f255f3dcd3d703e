"""A fact as a message can carry it. Pure.

What comes from an API server may be larger, deeper or stranger than anything that a log takes. What can be
left out of an object is left out, and said; what cannot be told at all is said too, and stepped over.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from romana_bus.events import Fact, ObjectSeen, PolicySeen, codec

#: Bytes of a fact: no message could carry more (the server's max_payload is 1 MiB, headers included).
LARGEST = 900_000
#: Characters of a name, of a namespace (RFC 1123 subdomains), and of what the API server counts by.
NAME, COUNTED = 253, 128
#: Labels that are kept first where an object has too many: whoever goes by labels goes by these mostly.
FIRST = ("romana.io/", "topology.kubernetes.io/", "kubernetes.io/", "node.kubernetes.io/")


#: Bytes below which a fact is as usual, unless it holds what an API server nested.
PLAIN = 8192
NESTED = (ObjectSeen, PolicySeen)


class Unusable(NamedTuple):
    """Of one object: its key, and what is wrong with it."""

    key: str
    why: str


#: The fact, its encoded body (b'' where it cannot be told), and what is wrong with it, if anything.
Fitted = tuple[Fact, bytes, Unusable | None]


def fitted(fact: Fact, key: str) -> Fitted:
    """`key`: the fact's."""
    try:
        body = codec.encode(fact)
    except (RecursionError, OverflowError, ValueError, TypeError) as error:
        return fact, b"", Unusable(key[:NAME], f"it cannot be told: {error}")
    usual = (
        len(body) < PLAIN
        and len(key) <= NAME
        and key.count("/") == 1
        and key[-1] != "/"
        and len(fact.uid) + len(fact.resource_version) <= COUNTED
        and type(fact) not in NESTED
    )
    return (fact, body, None) if usual else _looked_at(fact, key, body)


def _looked_at(fact: Fact, key: str, body: bytes) -> Fitted:
    if reason := _odd(fact):
        return fact, b"", Unusable(key[:NAME], reason)
    if len(body) > LARGEST:
        return _cut(fact, key, len(body))
    if reason := codec.unbounded(body):
        return fact, b"", Unusable(key, reason)
    return fact, body, None


def _odd(fact: Fact) -> str:
    """Why its name is no name, or ''."""
    namespace = getattr(fact, "namespace", "")
    if not fact.name or len(fact.name) > NAME or len(namespace) > NAME:
        return f"a name of {len(fact.name)} characters in a namespace of {len(namespace)}"
    if max(len(fact.uid), len(fact.resource_version)) > COUNTED:
        return f"a uid or version of more than {COUNTED} characters"
    if "/" in fact.name or "/" in namespace:
        return "a '/' in its name"
    return ""


def _cut(fact: Fact, key: str, size: int) -> Fitted:
    """The same with fewer labels, and, if that is not enough, without what it asks for."""
    said = f"{size:,} bytes, of {LARGEST:,} at most"
    for field in ("labels", "annotations"):
        if values := getattr(fact, field, None):
            fact = msgspec.structs.replace(fact, **{field: _some(values)})
            body = codec.encode(fact)
            if len(body) <= LARGEST:
                kept = len(getattr(fact, field))
                why = f"{said}: {kept:,} of its {len(values):,} {field} are told"
                return fact, body, Unusable(key, why)
    return fact, b"", Unusable(key, f"{said}: it is left out")


def _some(values: dict[str, str]) -> dict[str, str]:
    """As many as fit into half of a message: known ones first, then the short ones."""
    known = {prefix: place for place, prefix in enumerate(FIRST)}

    def rank(key: str) -> tuple[int, int, str]:
        first = next((place for prefix, place in known.items() if key.startswith(prefix)), len(FIRST))
        return first, len(key) + len(values[key]), key

    kept: dict[str, str] = {}
    room = LARGEST // 2
    for key in sorted(values, key=rank):
        room -= len(key.encode()) + len(values[key].encode()) + 6
        if room < 0:
            break
        kept[key] = values[key]
    return kept
