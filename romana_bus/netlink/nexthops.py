"""Nexthop objects of ours as netlink messages.

A new one is made with EXCL and never with REPLACE, so an id that somebody else has taken is refused and
not overwritten; an existing one is changed with REPLACE and never with CREATE, so one that is gone is seen.
A change is one message, and no route that points at the object is touched.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

from romana_bus.inet import V4, V6
from romana_bus.netlink.messages import CREATE, EXCL, REPLACE, REQUEST, attributes, message, messages
from romana_bus.netlink.routes import PROTOCOL

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.routing.routes.state import Via

_NEW, _DEL, _GET = 104, 105, 106
# linux/nexthop.h: NHA_*
_ID, _OIF, _GATEWAY = 1, 5, 6
_FAMILY = {V4: 2, V6: 10}
_WIDTH = {2: V4, 10: V6}
#: struct nhmsg: family, scope, protocol, reserved, flags
_NHMSG = struct.Struct("=BBBBI")
_FORMS = {width: struct.Struct(f"=8sI16sI4sI4s{width // 8}s") for width in (V4, V6)}
_REMOVAL = struct.Struct("=8sI16sI")


def create(first: int, nexthops: Iterable[tuple[int, Via]], flags: int = CREATE | EXCL) -> list[bytes]:
    """Make new ones; numbered from `first`."""
    forms = {
        width: (
            form.pack,
            struct.pack("=IHH", form.size, _NEW, flags | REQUEST),
            struct.pack("=I", 0)
            + _NHMSG.pack(_FAMILY[width], 0, PROTOCOL, 0, 0)
            + struct.pack("=HH", 8, _ID),
            width // 8,
            struct.pack("=HH", 4 + width // 8, _GATEWAY),
        )
        for width, form in _FORMS.items()
    }
    oif, made = struct.pack("=HH", 8, _OIF), []
    for at, (number, (width, gateway, link)) in enumerate(nexthops, first):
        pack, head, middle, size, via = forms[width]
        made.append(pack(head, at, middle, number, oif, link, via, gateway.to_bytes(size, "big")))
    return made


def change(first: int, nexthops: Iterable[tuple[int, Via]]) -> list[bytes]:
    """Let existing ones lead elsewhere."""
    return create(first, nexthops, REPLACE)


def delete(first: int, numbers: Iterable[int]) -> list[bytes]:
    head = struct.pack("=IHH", _REMOVAL.size, _DEL, REQUEST)
    middle = struct.pack("=I", 0) + _NHMSG.pack(0, 0, 0, 0, 0) + struct.pack("=HH", 8, _ID)
    return [_REMOVAL.pack(head, at, middle, number) for at, number in enumerate(numbers, first)]


def all_of_them() -> bytes:
    """The request for a dump; the kernel cannot select by id or protocol."""
    return message(_GET, 0, _NHMSG.pack(0, 0, 0, 0, 0))


def found(part: bytes) -> Iterator[tuple[int, Via | None]]:
    """(id, where it leads) of each nexthop in one part of a dump; None for one that is not ours."""
    for kind, _, _, start, end in messages(part):
        if kind != _NEW:
            continue
        family, _, protocol, _, _ = _NHMSG.unpack_from(part, start)
        number = gateway = link = 0
        for attribute, first, last in attributes(part, start + _NHMSG.size, end):
            if attribute == _ID:
                number = int.from_bytes(part[first:last], sys.byteorder)
            elif attribute == _OIF:
                link = int.from_bytes(part[first:last], sys.byteorder)
            elif attribute == _GATEWAY:
                gateway = int.from_bytes(part[first:last], "big")
        yield number, (_WIDTH[family], gateway, link) if protocol == PROTOCOL and gateway else None
