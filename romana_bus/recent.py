"""What was noted a short time ago, by name: it is forgotten by age, so its size follows what happens now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

V = TypeVar("V")


class Recent(Generic[V]):
    """Name -> value, for at least a period after it was noted, and less than two."""

    def __init__(self) -> None:
        self._young: dict[str, V] = {}
        self._old: dict[str, V] = {}
        self._turned_at = 0

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def __iter__(self) -> Iterator[str]:
        yield from self._old
        yield from self._young

    def get(self, name: str) -> V | None:
        young = self._young.get(name)
        return self._old.get(name) if young is None else young

    def put(self, name: str, value: V) -> None:
        self.drop(name)
        self._young[name] = value

    def drop(self, name: str) -> None:
        self._young.pop(name, None)
        self._old.pop(name, None)

    def turn(self, now: int, period: int) -> None:
        """Forget what was noted a period ago or longer. `now`, `period`: µs."""
        if now - self._turned_at >= period:
            self._old = self._young if self._turned_at else {**self._old, **self._young}
            self._young = {}
            self._turned_at = now
