"""The views of objects: whole, metadata only, or as rows of a table. Pure: the clock is given.

Gets, lists and watches show objects in the view that the first media type of Accept asks for.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from romana_bus.lab.kubeapi import wire
from romana_bus.lab.kubeapi.read import tables
from romana_bus.lab.kubeapi.status import go_json
from romana_bus.lab.kubeapi.store import watch_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.kubeapi.table import Change

Json = dict[str, Any]


class View(Protocol):
    """Renders objects as bytes, without newline, except `bookmark`, which is a line of a watch."""

    def alone(self, raw: bytes) -> bytes: ...

    def listed(self, raws: Iterable[bytes], metadata: bytes) -> bytes: ...

    def bookmark(self, version: int, *, initial_end: bool = False) -> bytes: ...


def view_of(call: Call, clock: Callable[[], datetime]) -> View:
    """The view that `call` asks for: a new one for each request, since a table shows its columns only
    once."""
    match call.view:
        case "table":
            return Table(call.resource, call.query.get("includeObject", "Metadata"), clock)
        case "metadata":
            return MetadataOnly(call.resource)
        case _:
            return Whole(call.resource)


class Event:
    """One change that is sent to watches: rendered and decoded once for all of them. Neither form is kept,
    since both are larger than the change itself."""

    def __init__(self, change: Change) -> None:
        self.change = change

    @cached_property
    def line(self) -> bytes:
        """The watch line with the whole object."""
        return watch_line(self.change.type, self.change.raw)

    @cached_property
    def item(self) -> Any:
        """The object after the change, decoded."""
        return msgspec.json.decode(self.change.raw)

    @cached_property
    def item_before(self) -> Any:
        """The object before the change, decoded; None if it did not exist."""
        before = self.change.before
        return None if before is None else msgspec.json.decode(before)

    def line_in(self, view: View) -> bytes:
        if isinstance(view, Whole):
            return self.line
        return watch_line(self.change.type, view.alone(self.change.raw))


class Whole:
    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def alone(self, raw: bytes) -> bytes:
        return raw

    def listed(self, raws: Iterable[bytes], metadata: bytes) -> bytes:
        items = (wire.list_item(self._resource, raw) for raw in raws)
        return wire.list_of(f"{self._resource.kind}List", self._resource.api_version, items, metadata)

    def bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        return wire.bookmark(self._resource, version, initial_end=initial_end)


class MetadataOnly:
    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def alone(self, raw: bytes) -> bytes:
        return wire.metadata_only(raw)

    def listed(self, raws: Iterable[bytes], metadata: bytes) -> bytes:
        items = map(wire.metadata_only, raws)
        return wire.list_of("PartialObjectMetadataList", "meta.k8s.io/v1", items, metadata)

    def bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        return wire.bookmark(self._resource, version, initial_end=initial_end, partial=True)


class Table:
    """Objects as rows of a table. `include`: the part of the object that is added to its row: None, Metadata
    or Object."""

    def __init__(self, resource: Resource, include: str, clock: Callable[[], datetime]) -> None:
        self._resource, self._include, self._clock = resource, include, clock
        self._columns: list[Json] | None = tables.columns(resource)

    def alone(self, raw: bytes) -> bytes:
        metadata = go_json({"resourceVersion": wire.identity(raw).resource_version})
        return self._table([raw], metadata)

    def listed(self, raws: Iterable[bytes], metadata: bytes) -> bytes:
        return self._table(raws, metadata)

    def bookmark(self, version: int, *, initial_end: bool = False) -> bytes:
        metadata = wire.bookmark_metadata(version, initial_end=initial_end)
        return watch_line("BOOKMARK", self._table([], metadata))

    def _table(self, raws: Iterable[bytes], metadata: bytes) -> bytes:
        columns, self._columns = self._columns, None
        now = self._clock()
        return (
            b'{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":%s,"columnDefinitions":%s,"rows":[%s]}'
            % (
                metadata,
                go_json(columns),
                b",".join(self._row(raw, now) for raw in raws),
            )
        )

    def _row(self, raw: bytes, now: datetime) -> bytes:
        cells = go_json(tables.cells(self._resource, msgspec.json.decode(raw), now))
        match self._include:
            case "None":
                shown = b"null"
            case "Object":
                shown = raw
            case _:
                shown = wire.metadata_only(raw)
        return b'{"cells":%s,"object":%s}' % (cells, shown)
