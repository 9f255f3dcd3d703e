"""Events that were never written by us: each type, with something wrong in each of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.events import STORED, Event
from tests.cli.hostile import every_event
from tests.fuzz import hostile_json

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

#: Whom well-formed junk is about: nobody. Nothing that is real has a name like this.
GHOST = "ghost"
#: Where nothing that is real has an address.
ELSEWHERE, THERE = "203.0.113.0/29", "203.0.113.1"

_FITTING = dict.fromkeys(("prefix", "cidr", "block"), ELSEWHERE) | {"address": THERE, "addresses": [THERE]}

#: A type's name and its fields as JSON.
Fields = tuple[str, dict[str, bytes]]


def well_formed(name: str) -> list[Event]:
    """One of each type, about something of that name."""
    return [_decoded(_fields(event, name)) for event in every_event(name)]


def _decoded(fields: Fields) -> Event:
    kinds = {kind.__name__: kind for kind in STORED}
    return msgspec.json.decode(assembled(*fields), type=kinds[fields[0]])


def _fields(event: Event, name: str) -> Fields:
    plain = _fitted(msgspec.to_builtins(event))
    if "addresses" in plain and type(event).__name__ == "AddressAssigned":
        plain["addresses"] = [{"address": THERE, "network": name, "block": ELSEWHERE}]
    kind = plain.pop("type")
    return kind, {key: msgspec.json.encode(value) for key, value in plain.items()}


def _fitted(value: Any) -> Any:
    """With addresses where there must be addresses, or hardly anything would get past the first look."""
    match value:
        case dict():
            return {key: _FITTING[key] if key in _FITTING and not isinstance(one, dict) else _fitted(one)
                    for key, one in value.items()}  # fmt: skip
        case list() | tuple():
            return [_fitted(one) for one in value]
    return value


def assembled(kind: str, fields: dict[str, bytes]) -> bytes:
    return b'{"type":"%s"%s}' % (
        kind.encode(),
        b"".join(b',"%s":%s' % (key.encode(), value) for key, value in fields.items()),
    )


_SKELETONS: list[Fields] = [_fields(event, GHOST) for event in every_event(GHOST)]


def every_wrong_field() -> Iterator[bytes]:
    """Each value in each field of each type, and each type without each of its fields."""
    for kind, fields in _SKELETONS:
        for field in fields:
            yield assembled(kind, {key: value for key, value in fields.items() if key != field})
            yield from (assembled(kind, fields | {field: value}) for value in hostile_json.VALUES)


def wrong_field(chance: random.Random) -> bytes:
    kind, fields = chance.choice(_SKELETONS)
    field = chance.choice([*fields, "no such field", "type"])
    changed = fields | {field: hostile_json.value(chance)}
    if chance.random() < 0.1:
        del changed[field]
    elif chance.random() < 0.2:
        changed[chance.choice(list(fields))] = hostile_json.value(chance)
    return assembled(kind, changed)
