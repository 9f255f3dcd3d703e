"""The objects of one resource that a client has reported, so that it reports each change once. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

Json = dict[str, Any]


class Seen(NamedTuple):
    """One event. `type`: ADDED, MODIFIED, DELETED (`object`: its last known state), or SYNCED (`object`: {}):
    all existing objects have been reported."""

    type: str
    object: Json


class Known:
    """The reported objects. `version`: the resourceVersion to watch from; '' if a listing is due."""

    def __init__(self) -> None:
        self.version = ""
        self._objects: dict[tuple[str, str], Json] = {}

    def listed(self, items: list[Json], version: str) -> list[Seen]:
        """The events of a listing at `version`: the differences from what was reported, then SYNCED."""
        self.version = version
        there = {_key(item) for item in items}
        gone = [key for key in sorted(self._objects) if key not in there]
        told = [Seen("DELETED", self._objects.pop(key)) for key in gone]
        for item in items:
            told += self._present(item)
        return [*told, Seen("SYNCED", {})]

    def changed(self, kind: str, item: Json) -> list[Seen]:
        """The events to report for one event of a watch; [] if it changes nothing."""
        self.version = item["metadata"]["resourceVersion"]
        match kind:
            case "ADDED" | "MODIFIED":
                return self._present(item)
            case "DELETED" if self._objects.pop(_key(item), None) is not None:
                return [Seen("DELETED", item)]
            case _:  # a bookmark
                return []

    def _present(self, item: Json) -> list[Seen]:
        key = _key(item)
        before, self._objects[key] = self._objects.get(key), item
        if before is None:
            return [Seen("ADDED", item)]
        if _of(before, "uid") != _of(item, "uid"):
            return [Seen("DELETED", before), Seen("ADDED", item)]
        if _of(before, "resourceVersion") == _of(item, "resourceVersion"):
            return []
        return [Seen("MODIFIED", item)]


def _key(item: Json) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]


def _of(item: Json, field: str) -> object:
    return item["metadata"].get(field, "")
