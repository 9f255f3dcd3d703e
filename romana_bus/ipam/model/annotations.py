"""What a pod's annotations ask for.

`romana.io/address`         a fixed address, or one of each family: `10.0.0.7` or `10.0.0.7,fd00::7`
`romana.io/network`         a network by name, or several: `blue` or `blue,blue6`
`romana.io/sticky-address`  a pod of this name gets the address back that the one before it had: for an
                            hour (`true`), or as long as it says (`90s`, `10m`, `2h`, `7d`)
"""

from __future__ import annotations

import re
from sys import intern
from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import parse_address

if TYPE_CHECKING:
    from collections.abc import Mapping

ADDRESS, NETWORK, STICKY = "romana.io/address", "romana.io/network", "romana.io/sticky-address"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"([0-9]{1,6})([smhd])\Z")
#: How long an address is kept where the annotation only says `true`: µs.
RETENTION = 3600 * 1_000_000
#: As long as a log may remember: µs.
LONGEST = 365 * 86400 * 1_000_000


class Wish(msgspec.Struct, frozen=True, gc=False):
    """`addresses`: (width, value), at most one of a family. `retention`: µs, 0 for none. `bad`: what
    cannot be read, so that the pod gets nothing until it is mended."""

    addresses: tuple[tuple[int, int], ...] = ()
    networks: tuple[str, ...] = ()
    retention: int = 0
    bad: str = ""

    def address(self, width: int) -> int | None:
        return next((value for family, value in self.addresses if family == width), None)


def wish_of(annotations: Mapping[str, str]) -> Wish | None:
    """None where nothing is wished for."""
    address, network, sticky = (annotations.get(key, "").strip() for key in (ADDRESS, NETWORK, STICKY))
    if not (address or network or sticky):
        return None
    try:
        return Wish(_addresses(address), _networks(network), _retention(sticky))
    except ValueError as error:
        return Wish(bad=str(error))


def _addresses(text: str) -> tuple[tuple[int, int], ...]:
    found: dict[int, int] = {}
    for part in text.split(",") if text else ():
        try:
            width, value = parse_address(part.strip())
        except ValueError as error:
            raise ValueError(f"{ADDRESS}: {error}") from None
        if width in found:
            raise ValueError(f"{ADDRESS}: {text!r} has more than one address of a family")
        found[width] = value
    return tuple(found.items())


def _networks(text: str) -> tuple[str, ...]:
    return tuple(intern(part.strip()) for part in text.split(",")) if text else ()


def _retention(text: str) -> int:
    if text in ("", "false"):
        return 0
    if text == "true":
        return RETENTION
    match = _DURATION.match(text)
    time = int(match[1]) * _SECONDS[match[2]] * 1_000_000 if match else 0
    if not 0 < time <= LONGEST:
        raise ValueError(f"{STICKY}: {text!r} is no time: write `true`, or one such as 90s, 10m, 2h, 7d")
    return time
