"""What holds for every consumer: `plan` changes nothing, and the same again gives an equal delta; a decision
that is repeated yields nothing.

`install` hooks into the construction of consumers. So each pass of each loop that runs in the tests is
checked, also of a consumer for which nobody wrote such a test. A loop reports what is
raised in it, and tries again: so faults are kept too, and the test fails at its end.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from romana_bus.runtime.consumer import Decider, Reconciler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

S = TypeVar("S")
A = TypeVar("A")
D = TypeVar("D")

#: What was found since the last test.
FAULTS: list[AssertionError] = []


def snapshot(value: Any, seen: dict[int, int] | None = None) -> Any:
    """All that can be reached from the value, as tuples that can be compared."""
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    seen = {} if seen is None else seen
    if id(value) in seen:
        return "seen before", seen[id(value)]
    seen[id(value)] = len(seen)
    kind = type(value).__name__
    if isinstance(value, dict):
        return kind, tuple((snapshot(key, seen), snapshot(held, seen)) for key, held in value.items())
    if isinstance(value, set | frozenset):
        return kind, frozenset(snapshot(held) for held in value)
    if isinstance(value, list | tuple):
        return kind, tuple(snapshot(held, seen) for held in value)
    names = value.__struct_fields__ if isinstance(value, msgspec.Struct) else getattr(value, "__dict__", None)
    if names is None:  # a function, for example
        return kind, id(value)
    return kind, tuple((name, snapshot(getattr(value, name), seen)) for name in names)


def plan_twice(plan: Callable[[S, A], D], state: S, actual: A) -> D:
    """The delta. Raises AssertionError."""
    before = snapshot((state, actual))
    delta = plan(state, actual)
    assert snapshot((state, actual)) == before, "plan changed the state, or what is known of the outside"
    again = plan(state, actual)
    assert snapshot(again) == snapshot(delta), "a second plan differs from the first"
    return delta


def decide_twice(decide: Callable[[Any], Any], state: Any) -> Iterator[Any]:
    """The parts of the decision. Raises AssertionError at the end."""
    yield from decide(state)
    again = [decision for part in decide(state) for decision in part]
    with _faults_kept():
        assert not again, f"a repeated decision yields {again[:3]}"


def install() -> None:
    """From now on, every consumer that is made is checked whenever it plans or decides."""
    _check(Reconciler, "plan", plan_twice)
    _check(Decider, "decide", decide_twice)


def _check(kind: Any, name: str, twice: Callable[..., Any]) -> None:
    make = kind.__init__

    def init(self: Any, *args: Any, **named: Any) -> None:
        make(self, *args, **named)
        original = getattr(self, name)
        original = getattr(original, "unchecked", original)  # of one that `dataclasses.replace` copies

        def checked(state: Any, *arguments: Any) -> Any:
            with _faults_kept():
                return twice(original, state, *arguments)

        checked.unchecked = original  # type: ignore[attr-defined]
        object.__setattr__(self, name, checked)

    kind.__init__ = init


@contextlib.contextmanager
def _faults_kept() -> Iterator[None]:
    try:
        yield
    except AssertionError as fault:
        FAULTS.append(fault)
        raise
