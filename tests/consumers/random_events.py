"""Random events of any type, about the same few nodes, pods and blocks. They are made from the types alone,
so new types are among them without being named here."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

import msgspec
from hypothesis import strategies as st

from romana_bus import events as ev
from romana_bus.events import codec
from tests.ipam.cluster import topology

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.runtime.feed import Read

NODES = ("me", "you", "they")
ADDRESSES = ("10.0.0.1", "10.0.0.5", "10.0.0.17", "fd00::5")
#: The values of a field, by its name. Other texts are one of a few words.
FIELDS: dict[str, tuple[Any, ...]] = {
    "node": NODES,
    "name": (*NODES, "a", "b"),
    "namespace": ("web",),
    "resource": ("nodes", "pods"),
    "resource_version": tuple("12345"),
    "uid": ("u", "v"),
    "address": ADDRESSES,
    "addresses": ((), *((address,) for address in ("10.99.0.1", "10.99.0.2", *ADDRESSES))),
    "ips": ((), *((address,) for address in ADDRESSES)),
    "block": ("10.0.0.0/28", "10.0.0.16/28", "fd00::/124"),
    "prefix": ("10.0.0.0/24", "fd00::/64"),
    "cidr": ("10.0.0.0/30",),
    "document": (topology("10.0.0.0/24", 28), topology("10.0.0.0/24", 30)),
    "default_network": ("100.64.0.0/10", "10.0.0.0/24"),
    "phase": ("Running", "Succeeded"),
    "stream": ("IPAM",),
}
WORDS = ("", "net", "g")


def histories(reads: Iterable[Read]) -> st.SearchStrategy[list[ev.Event]]:
    """Events of the streams that a consumer reads, which it could read."""
    roles = {read.role for read in reads}
    kinds = [kind for stream in ev.STREAMS if stream.name in roles for kind in stream.events]
    one = st.sampled_from(kinds).flatmap(_made).filter(_readable)
    return st.lists(one, max_size=8)


def _readable(event: Any) -> bool:
    return event is not None and isinstance(codec.decode(codec.encode(event)), ev.Event)


def _made(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind)
    fields = {name: _value(name, hints[name]) for name in kind.__struct_fields__}
    return st.fixed_dictionaries(fields).map(lambda values: _or_none(kind, values))


def _or_none(kind: type[msgspec.Struct], values: dict[str, Any]) -> Any:
    try:
        return kind(**values)
    except ValueError:
        return None


def _value(name: str, hint: Any) -> st.SearchStrategy[Any]:
    arguments = typing.get_args(hint)
    match typing.get_origin(hint) or hint:
        case made if isinstance(made, type) and issubclass(made, msgspec.Struct):
            return _made(made).filter(lambda value: value is not None)
        case made if made is tuple and name not in FIELDS:
            return st.lists(_value("", arguments[0]), max_size=2).map(tuple)
        case made if made is dict and name not in FIELDS:
            return st.just({})
        case typing.Literal:
            return st.sampled_from(arguments)
        case made if made is int:
            return st.integers(0, 5)
        case made if made is bool:
            return st.booleans()
    return st.sampled_from(FIELDS.get(name, WORDS))
