"""What this node has to tell the log about sandboxes, on disk until the log has it.

Owns STATE_DIR/journal: one file for each event that waits, numbered in their order. The newest event of a
subject replaces an older one that still waits, as it would on the log. It is on disk, past every cache,
before `put` returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from romana_bus.cni import disk
from romana_bus.events import SandboxEvent, SandboxRemoved, SandboxRequested, codec

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    number: int
    event: SandboxEvent


class Journal:
    def __init__(self, directory: Path) -> None:
        """Raises OSError."""
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._waiting: dict[str, Entry] = {}
        self._held: set[str] = set()  # subjects of which what waits is in memory alone
        self._last = 0
        for file in sorted(directory.glob("*.json")):
            self._load(file)

    def _load(self, file: Path) -> None:
        event = codec.decode(file.read_bytes())
        if not isinstance(event, SandboxEvent) or not file.stem.isdecimal():
            log.error("not an entry of the journal: left alone", file=str(file))
            return
        self._last = int(file.stem)
        if older := self._waiting.pop(event.subject(), None):
            self._file(older.number).unlink(missing_ok=True)
        self._waiting[event.subject()] = Entry(self._last, event)

    def waiting(self) -> list[Entry]:
        """In their order."""
        return sorted(self._waiting.values(), key=lambda entry: entry.number)

    def of(self, subject: str) -> SandboxEvent | None:
        """What waits of this subject."""
        entry = self._waiting.get(subject)
        return entry.event if entry else None

    def waits(self, entry: Entry) -> bool:
        """Whether it is this very entry that waits."""
        return self._waiting.get(entry.event.subject()) == entry

    def held(self, subject: str) -> bool:
        """Whether what waits of this subject is in memory alone."""
        return subject in self._held

    def put(self, event: SandboxEvent) -> None:
        """Raises OSError: it is not kept."""
        subject = event.subject()
        older = self._waiting.get(subject)
        if older is not None and _is_said(event, older.event) and subject not in self._held:
            return
        number = self._last + 1
        disk.write(self._file(number), codec.encode(event), past_caches=True)
        self._last = number
        self._waiting[subject] = Entry(number, event)
        self._held.discard(subject)
        if older is not None:
            self._file(older.number).unlink(missing_ok=True)

    def hold(self, event: SandboxEvent) -> None:
        """In memory alone: there is no room for it on the disk. It has the number of what it replaces, whose
        file thus goes with it."""
        subject = event.subject()
        older = self._waiting.get(subject)
        if older is not None and _is_said(event, older.event):
            return
        if older is None:
            self._last += 1
        self._waiting[subject] = Entry(older.number if older else self._last, event)
        self._held.add(subject)

    def drop(self, entry: Entry) -> None:
        """The log has it. Raises OSError: its file is still there."""
        subject = entry.event.subject()
        there = self._waiting.get(subject)
        if there == entry:
            del self._waiting[subject]
            self._held.discard(subject)
        elif there is not None and there.number == entry.number:
            return  # the file goes with that one
        self._file(entry.number).unlink(missing_ok=True)

    def _file(self, number: int) -> Path:
        return self._directory / f"{number:016}.json"


def _is_said(event: SandboxEvent, older: SandboxEvent) -> bool:
    """Whether `older`, of the same subject, says the same. One end of a name is as good as another."""
    return event == older or (isinstance(event, SandboxRemoved) and isinstance(older, SandboxRemoved))


def over(event: SandboxEvent, there: object) -> bool:
    """Whether the log needs it no more, which has `there` as its newest word. A request is the pod's, with
    whichever sandbox it came; and an end says that no sandbox of the name here wants an address."""
    if isinstance(event, SandboxRemoved):
        return not isinstance(there, SandboxRequested)
    return isinstance(there, SandboxRequested) and there.uid == event.uid
