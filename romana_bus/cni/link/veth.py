"""The names and addresses of one interface of a sandbox: a veth pair. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.inet import V4, V6, parse_address

if TYPE_CHECKING:
    from collections.abc import Iterable

#: The gateway of every pod; fe80::1 is the host's own address on each veth.
GATEWAY = {V4: parse_address("169.254.1.1")[1], V6: parse_address("fe80::1")[1]}

#: With which the names of host ends begin; and the names as a whole.
PREFIX = "rb"
HOST_END = re.compile(rf"{PREFIX}[0-9a-f]{{13}}")
#: With which hardware addresses begin: of the node's end, and of the pod's.
_HOST_MAC, _POD_MAC = "0a:", "0e:"


class Veth(NamedTuple):
    """A veth pair. `host`, `ifname`: the names of its ends on the node and in the pod. `addresses`: (width,
    value) of the pod."""

    host: str
    host_mac: str
    ifname: str
    mac: str
    addresses: tuple[tuple[int, int], ...] = ()
    mtu: int = 0

    @property
    def four(self) -> bool:
        return any(width == V4 for width, _ in self.addresses)

    @property
    def six(self) -> bool:
        return any(width == V6 for width, _ in self.addresses)


def veth(container: str, ifname: str, addresses: Iterable[str] = (), mtu: int = 0) -> Veth:
    """The veth pair of a container's interface; its names depend only on these two. The hardware addresses
    are locally administered and set at creation, so udev does not change them. Raises ValueError."""
    digest = hashlib.sha1(f"{container}/{ifname}".encode(), usedforsecurity=False).hexdigest()
    tail = ":".join(digest[start : start + 2] for start in range(20, 30, 2))
    parsed = tuple(map(parse_address, addresses))
    return Veth(f"{PREFIX}{digest[:13]}", f"{_HOST_MAC}{tail}", ifname, f"{_POD_MAC}{tail}", parsed, mtu)


def is_host_end(name: str, mac: str) -> bool:
    """Whether a link on the node is the end of a pod's link, by its name and its hardware address."""
    return bool(HOST_END.fullmatch(name)) and mac.startswith(_HOST_MAC)
