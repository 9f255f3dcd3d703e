"""From one written history, twenty-four: a history is a list of steps, a step a list of events.

Rule 2 says that output depends on the present and not on the path to it. So whoever consumes events is
run on every variant of a history, and has to end the same each time. All variants leave the same newest
message of every entity:

* *as written*, or *reversed*: the entities in the opposite order, the events of one entity in their own;
* in its steps, *split* into one event each, or *squashed* into one;
* with every event once, or *duplicated*: again directly behind itself, as a redelivery is;
* as it is, or with *empties*: steps in which nothing happens.

What "the same" means is the consumer's to say. `end` gives what has to be equal in all of them: for a
decider, whatever is a function of the facts, such as which entities have what they need, and why the
others have not. Choices that are sticky by design (which of several equal groups, which address) were
made on the way, and are left out. `exact` gives what has to be equal between variants that differ only in
duplicates and empties, since those change nothing of the way: for a decider, everything it left behind.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from romana_bus.events import Event

    History = list[list[Event]]

R = TypeVar("R")


def check(
    history: History, run: Callable[[History], R], end: Callable[[R], object], exact: Callable[[R], object]
) -> None:
    """`run` plays a history from nothing: the events of a step, then whatever the consumer does."""
    as_written = end(run(history))
    ways: dict[str, object] = {}
    for way, name, variant in variants(history):
        result = run(variant)
        assert end(result) == as_written, name
        assert exact(result) == ways.setdefault(way, exact(result)), name


def variants(history: History) -> Iterator[tuple[str, str, History]]:
    """(way, name, history): those of one way differ in duplicates and empties only."""
    for order, cut, copies, gaps in product(_ORDERS, _CUTS, _COPIES, _GAPS):
        changed = history
        for _, change in (order, cut, copies, gaps):
            changed = change(changed)
        way = f"{order[0]}, {cut[0]}"
        yield way, way + copies[0] + gaps[0], changed


def backwards(history: History) -> History:
    """The steps keep their lengths."""
    entities: dict[str, list[Event]] = {}
    for step in history:
        for event in step:
            entities.setdefault(event.subject(), []).append(event)
    events = [event for entity in reversed(entities.values()) for event in entity]
    return [[events.pop(0) for _ in step] for step in history]


def split(history: History) -> History:
    return [[event] for step in history for event in step]


def squashed(history: History) -> History:
    return [[event for step in history for event in step]]


def duplicated(history: History) -> History:
    return [[event for event in step for _ in range(2)] for step in history]


def with_empties(history: History) -> History:
    return [part for step in history for part in ([], step, [])]


def _as_it_is(history: History) -> History:
    return history


_ORDERS = [("as written", _as_it_is), ("reversed", backwards)]
_CUTS = [("in steps", _as_it_is), ("split", split), ("squashed", squashed)]
_COPIES = [("", _as_it_is), (", duplicated", duplicated)]
_GAPS = [("", _as_it_is), (", with empties", with_empties)]
