"""One file of a recording: the objects of its first listing, and every change that its watches showed. Pure,
except for reading the file.

Each line is `{t, kind, path, status, body}`: `t` in seconds since the recording began, `kind` one of list,
watch-open, watch and watch-close, `body` the raw bytes (a watch's line without its newline).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from romana_bus.errors import BadInput
from romana_bus.lab.kubeapi import wire

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from romana_bus.lab.kubeapi.resources import Resource

#: Key (`namespace/name`, or `name`) -> the object as a watch shows it.
Objects = dict[str, bytes]


class Line(msgspec.Struct, frozen=True):
    """One line of a recording's file."""

    t: float
    kind: Literal["list", "watch-open", "watch", "watch-close"]
    path: str
    status: int
    body: str


class RecordedEvent(NamedTuple):
    """A change. `kind`: ADDED, MODIFIED or DELETED. `raw`: the object's bytes. `t`: as in Line."""

    t: float
    version: int
    resource: Resource
    kind: str
    key: str
    raw: bytes


def read_lines(path: Path) -> list[Line]:
    """The lines of one file. Raises BadInput, which names the line."""
    decoder = msgspec.json.Decoder(Line)
    lines = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            lines.append(decoder.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"{path}:{number}: {error}") from None
    return lines


def apply(objects: Objects, event: RecordedEvent) -> None:
    """Apply `event` to `objects`."""
    if event.kind == "DELETED":
        objects.pop(event.key, None)
    else:
        objects[event.key] = event.raw


class _ListMetadata(msgspec.Struct, rename="camel"):
    resource_version: str


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw]


class _WatchEvent(msgspec.Struct):
    type: str
    object: msgspec.Raw


@dataclass
class Track:
    """One file: its resource, `listed`: the objects of its first listing at `version`, and later changes."""

    resource: Resource
    version: int
    listed: Objects
    events: list[RecordedEvent]
    duration: float

    @classmethod
    def load(cls, path: Path, resources: Sequence[Resource]) -> Track:
        lines = read_lines(path)
        if not lines:
            raise BadInput(f"{path}: empty")
        track = cls(_resource(path, lines[0], resources), 0, {}, [], lines[-1].t)
        for number, line in enumerate(lines, 1):
            try:
                track._read(line)
            except (msgspec.DecodeError, ValueError) as error:
                raise BadInput(f"{path}:{number}: {error}") from None
        if not track.version:
            raise BadInput(f"{path}: it holds no listing")
        return track

    def _read(self, line: Line) -> None:
        if line.kind == "list" and not self.events:
            self._read_page(msgspec.json.decode(line.body, type=_List))
        elif line.kind == "watch":
            self._read_event(line.t, msgspec.json.decode(line.body, type=_WatchEvent))

    def _read_page(self, page: _List) -> None:
        self.version = int(page.metadata.resource_version)
        for item in page.items:
            raw = wire.standing_alone(self.resource, bytes(item))
            self.listed[wire.placed(self.resource, raw)[0]] = raw

    def _read_event(self, t: float, event: _WatchEvent) -> None:
        if event.type not in ("ADDED", "MODIFIED", "DELETED"):
            return  # the server makes its own bookmarks and errors
        raw = bytes(event.object)
        key, version = wire.placed(self.resource, raw)
        if version > (self.events[-1].version if self.events else self.version):  # a watch may repeat events
            self.events.append(RecordedEvent(t, version, self.resource, event.type, key, raw))

    def objects_at(self, version: int) -> Objects:
        """Objects at `version`; other resources may have been listed later."""
        objects = dict(self.listed)
        for event in self.events:
            if event.version <= version:
                apply(objects, event)
        return objects


def _resource(path: Path, line: Line, resources: Iterable[Resource]) -> Resource:
    asked = line.path.partition("?")[0]
    for resource in resources:
        if resource.path == asked:
            return resource
    raise BadInput(f"{path}:1: the small API server does not serve {asked}")
