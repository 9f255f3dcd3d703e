"""Our nexthop objects as netlink messages.

A new one is created with EXCL, never with REPLACE: an id that somebody else uses is refused, not overwritten.
An existing one is changed with REPLACE, never with CREATE: a missing one is an error. A change is one
message; the routes that use the object are not touched.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING

from romana_bus.inet import V4, V6
from romana_bus.netlink.constants import (
    BLOCK_ROUTES,
    CREATE,
    DELNEXTHOP,
    EXCL,
    FAMILY,
    GETNEXTHOP,
    NEWNEXTHOP,
    NHA_GATEWAY,
    NHA_ID,
    NHA_OIF,
    REPLACE,
    REQUEST,
    WIDTH,
)
from romana_bus.netlink.messages import attributes, message, messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.routing.routes.state import Via

#: struct nhmsg: family, scope, protocol, reserved, flags
_NHMSG = struct.Struct("=BBBBI")
_FORMS = {width: struct.Struct(f"=8sI16sI4sI4s{width // 8}s") for width in (V4, V6)}
_REMOVAL = struct.Struct("=8sI16sI")


def create(first: int, nexthops: Iterable[tuple[int, Via]], flags: int = CREATE | EXCL) -> list[bytes]:
    """Requests that create nexthops, with sequence numbers from `first` on."""
    forms = {
        width: (
            form.pack,
            struct.pack("=IHH", form.size, NEWNEXTHOP, flags | REQUEST),
            struct.pack("=I", 0)
            + _NHMSG.pack(FAMILY[width], 0, BLOCK_ROUTES, 0, 0)
            + struct.pack("=HH", 8, NHA_ID),
            width // 8,
            struct.pack("=HH", 4 + width // 8, NHA_GATEWAY),
        )
        for width, form in _FORMS.items()
    }
    oif, requests = struct.pack("=HH", 8, NHA_OIF), []
    for sequence, (number, (width, gateway, link)) in enumerate(nexthops, first):
        pack, head, middle, size, via = forms[width]
        requests.append(pack(head, sequence, middle, number, oif, link, via, gateway.to_bytes(size, "big")))
    return requests


def change(first: int, nexthops: Iterable[tuple[int, Via]]) -> list[bytes]:
    """Requests that change the gateways of existing nexthops."""
    return create(first, nexthops, REPLACE)


def delete(first: int, numbers: Iterable[int]) -> list[bytes]:
    head = struct.pack("=IHH", _REMOVAL.size, DELNEXTHOP, REQUEST)
    middle = struct.pack("=I", 0) + _NHMSG.pack(0, 0, 0, 0, 0) + struct.pack("=HH", 8, NHA_ID)
    return [_REMOVAL.pack(head, sequence, middle, number) for sequence, number in enumerate(numbers, first)]


def dump_all() -> bytes:
    """The request for a dump of all nexthops; the kernel cannot select by id or protocol."""
    return message(GETNEXTHOP, 0, _NHMSG.pack(0, 0, 0, 0, 0))


def parse(part: bytes) -> Iterator[tuple[int, Via | None]]:
    """Yields (id, gateway) of each nexthop in one part of a dump; None instead of the gateway if it is not
    ours."""
    for kind, _, _, start, end in messages(part):
        if kind != NEWNEXTHOP:
            continue
        family, _, protocol, _, _ = _NHMSG.unpack_from(part, start)
        number = gateway = link = 0
        for attribute, first, last in attributes(part, start + _NHMSG.size, end):
            if attribute == NHA_ID:
                number = int.from_bytes(part[first:last], sys.byteorder)
            elif attribute == NHA_OIF:
                link = int.from_bytes(part[first:last], sys.byteorder)
            elif attribute == NHA_GATEWAY:
                gateway = int.from_bytes(part[first:last], "big")
        yield number, (WIDTH[family], gateway, link) if protocol == BLOCK_ROUTES and gateway else None
