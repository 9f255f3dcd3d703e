"""The slots of a level: into how many parts a prefix is split, and which part each group has.

A document can set `slots` for a level, and `slot` for a group in it, so that a group keeps its prefix when
others are added or removed; the document of a running cluster has both (`change/merge.py`). Romana's
documents set neither: then the groups have their slots by order, and there are as many as the next power of
two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    #: Takes the place, the kind and the text of a problem.
    Note = Callable[[str, str, str], None]

#: The most slots of one level.
MOST = 1 << 16


def even(count: int) -> int:
    """How many slots a level of `count` groups has if the document does not set it."""
    return 1 << max(count - 1, 0).bit_length()


def integer(value: Any) -> bool:
    """Whether the value is an integer. (In Python, `True` is one too; in JSON, it is not.)"""
    return isinstance(value, int) and not isinstance(value, bool)


def slot_in(raw: Mapping[str, Any], place: str, note: Note) -> int:
    """The slot that a group of a document sets; -1 where it sets none."""
    value = raw.get("slot")
    if value is None or (integer(value) and value >= 0):
        return -1 if value is None else int(value)
    note(f"{place}.slot", "bad_slot", f"{value!r} is not a slot: write an integer from 0 on")
    return -1


def slots_in(raw: Mapping[str, Any], place: str, key: str, taken: Sequence[int], note: Note) -> int:
    """The number of slots that a level of a document sets; 0 where it sets none. `taken`: the slots that its
    groups set. `key`: the groups are listed under it."""
    value = raw.get("slots")
    slots = 0 if value is None else _size(value, len(taken), f"{place}.slots", note)
    owner: dict[int, str] = {}
    for number, slot in enumerate(taken):
        group = f"{place}.{key}[{number}]"
        if slot in owner:
            note(f"{group}.slot", "bad_slot", f"slot {slot} is used by {owner[slot]} already")
        elif slot >= (slots or even(len(taken))) and (slots or value is None):
            count = slots or even(len(taken))
            known = f"slots 0 to {count - 1}" if count > 1 else "one slot, 0"
            more = "" if slots else f": set `{place}.slots` to have more"
            note(f"{group}.slot", "bad_slot", f"slot {slot} does not exist: this level has {known}{more}")
        elif slot >= 0:
            owner[slot] = group
    return slots


def _size(value: Any, groups: int, place: str, note: Note) -> int:
    if not integer(value) or not 0 < value <= MOST or value & (value - 1):
        note(place, "bad_slots", f"{value!r}: a power of two is expected, {MOST:,} at most")
    elif not groups:
        note(place, "bad_slots", "there are no groups here to split a prefix for")
    elif value < groups:
        note(place, "bad_slots", f"{groups} groups do not fit into {value} slots")
    else:
        return int(value)
    return 0


def positions(slots: int, wanted: Sequence[int]) -> list[int]:
    """Returns the slot of each group: the one that it wants, if it is the first that does; else the lowest
    that is left. There have to be enough slots."""
    taken: dict[int, int] = {}
    for group, slot in enumerate(wanted):
        if 0 <= slot < slots:
            taken.setdefault(slot, group)
    granted = {group: slot for slot, group in taken.items()}
    free = (slot for slot in range(slots) if slot not in taken)
    return [granted[group] if group in granted else next(free) for group in range(len(wanted))]
