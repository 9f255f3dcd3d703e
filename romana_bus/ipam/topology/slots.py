"""The slots of a level: in how many parts a prefix is split, and which part is whose.

Two integers that do not depend on any network: so what a group's prefix is stays the same whoever is
added beside it, or goes. Romana's documents say neither: then the groups have their slots by order, and
there are as many as the next power of two. `slots` (of the level) and `slot` (of a group in it) say so
in a document; a live cluster's document has them (`successor.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    #: Takes the place, the kind and the text of what is wrong.
    Note = Callable[[str, str, str], None]

#: The most slots of one level.
MOST = 1 << 16


def even(count: int) -> int:
    """How many slots a level of `count` groups has that does not say."""
    return 1 << max(count - 1, 0).bit_length()


def integer(value: Any) -> bool:
    """`True` is none."""
    return isinstance(value, int) and not isinstance(value, bool)


def slot_in(raw: Mapping[str, Any], place: str, note: Note) -> int:
    """-1 where the group does not say."""
    value = raw.get("slot")
    if value is None or (integer(value) and value >= 0):
        return -1 if value is None else int(value)
    note(f"{place}.slot", "bad_slot", f"{value!r} is no slot: they are counted from 0")
    return -1


def slots_in(raw: Mapping[str, Any], place: str, key: str, taken: Sequence[int], note: Note) -> int:
    """0 where the level does not say. `taken`: what its groups, which are listed under `key`, ask for."""
    value = raw.get("slots")
    slots = 0 if value is None else _size(value, len(taken), f"{place}.slots", note)
    owner: dict[int, str] = {}
    for at, slot in enumerate(taken):
        where = f"{place}.{key}[{at}]"
        if slot in owner:
            note(f"{where}.slot", "bad_slot", f"slot {slot} is that of {owner[slot]} already")
        elif slot >= (slots or even(len(taken))) and (slots or value is None):
            count = slots or even(len(taken))
            here = f"0 to {count - 1} is" if count > 1 else "it has one, slot 0"
            more = "" if slots else f": `{place}.slots` can say that it has more"
            note(f"{where}.slot", "bad_slot", f"slot {slot} is none of this level, {here}{more}")
        elif slot >= 0:
            owner[slot] = where
    return slots


def _size(value: Any, groups: int, place: str, note: Note) -> int:
    if not integer(value) or not 0 < value <= MOST or value & (value - 1):
        note(place, "bad_slots", f"{value!r}: a power of two is expected, {MOST:,} at most")
    elif not groups:
        note(place, "bad_slots", "there are no groups here that a prefix could be split for")
    elif value < groups:
        note(place, "bad_slots", f"{groups} groups do not fit into {value} slots")
    else:
        return int(value)
    return 0


def positions(slots: int, wanted: Sequence[int]) -> list[int]:
    """The slot of each group: the one it asks for, if it is the first that does; for the others those
    that are left, in order. There have to be enough."""
    taken: dict[int, int] = {}
    for at, slot in enumerate(wanted):
        if 0 <= slot < slots:
            taken.setdefault(slot, at)
    mine = {at: slot for slot, at in taken.items()}
    free = (slot for slot in range(slots) if slot not in taken)
    return [mine[at] if at in mine else next(free) for at in range(len(wanted))]
