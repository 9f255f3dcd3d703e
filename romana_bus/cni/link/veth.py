"""What one interface of a sandbox is: its two ends by name and hardware address, and its addresses. Pure."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

#: What pods send everything to; fe80::1 is the host's own on each veth.
GATEWAY = {V4: parse_address("169.254.1.1")[1], V6: parse_address("fe80::1")[1]}


class Veth(NamedTuple):
    """`host`, `ifname`: the names of its ends. `addresses`: (width, value)."""

    host: str
    host_mac: str
    ifname: str
    mac: str
    addresses: tuple[tuple[int, int], ...] = ()
    mtu: int = 0

    @property
    def six(self) -> bool:
        return any(width == V6 for width, _ in self.addresses)


def veth(container: str, ifname: str, addresses: Iterable[str] = (), mtu: int = 0) -> Veth:
    """Made of the container's id and the interface's name alone. The hardware addresses are locally
    administered, and set from the start: udev leaves such links alone. Raises ValueError."""
    digest = hashlib.sha1(f"{container}/{ifname}".encode(), usedforsecurity=False).hexdigest()
    tail = ":".join(digest[at : at + 2] for at in range(20, 30, 2))
    parsed = tuple(map(parse_address, addresses))
    return Veth(f"rb{digest[:13]}", f"0a:{tail}", ifname, f"0e:{tail}", parsed, mtu)
