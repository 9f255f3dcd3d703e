"""Limits of what pods can request by annotation: fixed and sticky addresses, for each network.

`networks[].wishes` of the topology document; see docs/topology.md.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.events.base import SECOND
from romana_bus.ipam.topology.slots import integer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ANYBODY = "*"
#: The most that `max_per_namespace` can be.
MOST_ADDRESSES = 1 << 24
#: The longest duration that can be written: µs.
LONGEST = 365 * 86400 * SECOND

_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
_DURATION = re.compile(r"([0-9]{1,8})([smhd])\Z")
_PERCENT = re.compile(r"([0-9]{1,3})%\Z")
_NAMESPACE = re.compile(r"(\*|[a-zA-Z0-9_-]+)\Z")


class PinnedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """`fixed`, `sticky`: the namespaces whose pods can request such an address; ANYBODY for all of them.
    `max_per_namespace`: how many of these addresses a namespace can have in the network, with those that are
    retained for pods that are gone. `max_retention`: µs for which an address is retained at most.
    `max_broken_blocks`: percentage of a group's whole blocks that such addresses may break up."""

    fixed: tuple[str, ...] = (ANYBODY,)
    sticky: tuple[str, ...] = (ANYBODY,)
    max_per_namespace: int = 16
    max_retention: int = 3600 * SECOND
    max_broken_blocks: int = 10

    def allows(self, kind: str, namespace: str) -> bool:
        """`kind`: `fixed` or `sticky`."""
        namespaces = self.fixed if kind == "fixed" else self.sticky
        return ANYBODY in namespaces or namespace in namespaces

    def breakable(self, blocks: int) -> int:
        """How many of a group's whole blocks may be broken up: at least one, unless the share is 0."""
        return max(1, blocks * self.max_broken_blocks // 100) if self.max_broken_blocks else 0

    def __str__(self) -> str:
        who = "; ".join(
            f"{kind} for {_named(names)}" for kind, names in (("fixed", self.fixed), ("sticky", self.sticky))
        )
        return (
            f"{who}; {self.max_per_namespace:,} per namespace; kept for {duration_text(self.max_retention)} "
            f"at most; {self.max_broken_blocks}% of a group's blocks broken up at most"
        )


def _named(namespaces: tuple[str, ...]) -> str:
    return "everyone" if ANYBODY in namespaces else ", ".join(namespaces) or "nobody"


#: The limits of a network that sets none.
DEFAULT_LIMITS = PinnedLimits()


def duration(text: str) -> int | None:
    """A duration such as `90s`, `10m`, `2h` or `7d` in µs; None where it is not one, or longer than a year.

    `0s` is a duration."""
    match = _DURATION.match(text)
    time = int(match[1]) * _SECONDS[match[2]] * SECOND if match else LONGEST + 1
    return time if time <= LONGEST else None


def duration_text(time: int) -> str:
    """The duration (µs) as it is written, in the largest unit that it is a multiple of."""
    seconds = time // SECOND
    unit = next(unit for unit, size in _SECONDS.items() if seconds % size == 0 and (seconds or unit == "s"))
    return f"{seconds // _SECONDS[unit]}{unit}"


def read_limits(place: str, raw: Any, bad: Callable[[str, str, str], None]) -> PinnedLimits:
    """Reads `wishes` of a network. `bad`: is called with the place, kind and text of each problem."""
    if raw is None:
        return DEFAULT_LIMITS
    if not isinstance(raw, dict):
        bad(place, "bad_wishes", f"a map is expected, with some of: {', '.join(_KEYS)}")
        return DEFAULT_LIMITS
    values: dict[str, Any] = {}
    for key, value in raw.items():
        if key not in _KEYS:
            bad(f"{place}.{str(key)[:64]}", "bad_wishes", f"is unknown; there is: {', '.join(_KEYS)}")
            continue
        read, expected = _KEYS[key]
        if (values_read := read(value)) is None:
            bad(f"{place}.{key}", "bad_wishes", f"{expected} is expected")
        else:
            values[key] = values_read
    return PinnedLimits(**values)


def _namespaces(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    names = [name for name in value if isinstance(name, str) and _NAMESPACE.match(name)]
    return tuple(dict.fromkeys(names)) if len(names) == len(value) else None


def _count(value: Any) -> int | None:
    return int(value) if integer(value) and 0 <= value <= MOST_ADDRESSES else None


def _duration(value: Any) -> int | None:
    return duration(value) if isinstance(value, str) else None


def _percent(value: Any) -> int | None:
    match = _PERCENT.match(value) if isinstance(value, str) else None
    return int(match[1]) if match and int(match[1]) <= 100 else None


_KEYS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "fixed": (_namespaces, 'a list of namespaces, or ["*"] for all,'),
    "sticky": (_namespaces, 'a list of namespaces, or ["*"] for all,'),
    "max_per_namespace": (_count, f"a number from 0 to {MOST_ADDRESSES:,}"),
    "max_retention": (_duration, "a time such as 90s, 10m, 2h or 7d, a year at most,"),
    "max_broken_blocks": (_percent, "a percentage from 0% to 100%, with the sign,"),
}
