"""What a pod requests by its annotations.

`romana.io/address`         a fixed address, or one of each family: `10.0.0.7` or `10.0.0.7,fd00::7`
`romana.io/network`         a network by name, or several: `blue` or `blue,blue6`
`romana.io/sticky-address`  the pod's name keeps its address when the pod is gone, for the next pod of that
                            name: for an hour (`true`), or for the time given (`90s`, `10m`, `2h`, `7d`)

The topology limits both kinds of addresses (`topology/pinned_limits.py`).
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

import msgspec

from romana_bus.events.base import SECOND
from romana_bus.inet import parse_address
from romana_bus.ipam.topology.pinned_limits import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS, NETWORK, STICKY = "romana.io/address", "romana.io/network", "romana.io/sticky-address"

#: How long an address is kept where the annotation says only `true`: µs.
RETENTION = 3600 * SECOND


class PodRequest(msgspec.Struct, frozen=True, gc=False):
    """What a pod requests. `addresses`: (width, value), at most one of each family. `retention`: µs for which
    the name keeps its addresses. `error`: why the annotations cannot be read: the pod gets no address until
    they are corrected."""

    addresses: tuple[tuple[int, int], ...] = ()
    networks: tuple[str, ...] = ()
    retention: int = 0
    error: str = ""

    def address(self, width: int) -> int | None:
        """The requested address of one family."""
        return next((value for family, value in self.addresses if family == width), None)


def parse_request(annotations: Mapping[str, str]) -> PodRequest | None:
    """Returns None where the annotations request nothing."""
    address, network, sticky = (annotations.get(key, "").strip() for key in (ADDRESS, NETWORK, STICKY))
    if not (address or network or sticky):
        return None
    try:
        return PodRequest(_addresses(address), _networks(network), _retention(sticky))
    except ValueError as error:
        return PodRequest(error=str(error))


def _addresses(text: str) -> tuple[tuple[int, int], ...]:
    addresses: dict[int, int] = {}
    for part in text.split(",") if text else ():
        try:
            width, value = parse_address(part.strip())
        except ValueError as error:
            raise ValueError(f"{ADDRESS}: {error}") from None
        if width in addresses:
            raise ValueError(f"{ADDRESS}: {text!r} has two addresses of one family")
        addresses[width] = value
    return tuple(addresses.items())


def _networks(text: str) -> tuple[str, ...]:
    return tuple(intern(part.strip()) for part in text.split(",")) if text else ()


def _retention(text: str) -> int:
    if text in ("", "false"):
        return 0
    if text == "true":
        return RETENTION
    time = duration(text)
    if not time:
        raise ValueError(f"{STICKY}: {text!r} is not a time: write `true`, 90s, 10m, 2h or 7d")
    return time
