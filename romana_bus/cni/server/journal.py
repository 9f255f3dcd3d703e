"""The journal: events about this node's sandboxes, on disk until the log has them.

Owns STATE_DIR/journal: one file for each waiting event, numbered in order. The newest event of a subject
replaces an older one that still waits, as it would on the log. `put` returns after the file is synced to
disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from romana_bus import files
from romana_bus.events import SandboxEvent, SandboxRemoved, SandboxRequested, codec

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    number: int
    event: SandboxEvent


class Journal:
    """The waiting events of one node."""

    def __init__(self, directory: Path) -> None:
        """Load the directory. Raises OSError."""
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._waiting: dict[str, Entry] = {}
        self._held: set[str] = set()  # subjects whose waiting event is only in memory
        self._last = 0
        for file in sorted(directory.glob("*.json")):
            self._load(file)

    def _load(self, file: Path) -> None:
        event = codec.decode(file.read_bytes())
        if not isinstance(event, SandboxEvent) or not file.stem.isdecimal():
            log.error("not an entry of the journal: ignored", file=str(file))
            return
        self._last = int(file.stem)
        if older := self._waiting.pop(event.subject(), None):
            self._file(older.number).unlink(missing_ok=True)
        self._waiting[event.subject()] = Entry(self._last, event)

    def waiting(self) -> list[Entry]:
        """All waiting entries in order."""
        return sorted(self._waiting.values(), key=lambda entry: entry.number)

    def of(self, subject: str) -> SandboxEvent | None:
        """The waiting event of a subject."""
        entry = self._waiting.get(subject)
        return entry.event if entry else None

    def waits(self, entry: Entry) -> bool:
        """Whether exactly this entry waits."""
        return self._waiting.get(entry.event.subject()) == entry

    def held(self, subject: str) -> bool:
        """Whether the waiting event of a subject is only in memory."""
        return subject in self._held

    def put(self, event: SandboxEvent) -> None:
        """Store an event until it is dropped. Raises OSError, and then it is not stored."""
        subject = event.subject()
        older = self._waiting.get(subject)
        if older is not None and _says_the_same(event, older.event) and subject not in self._held:
            return
        number = self._last + 1
        files.write(self._file(number), codec.encode(event), sync=True)
        self._last = number
        self._waiting[subject] = Entry(number, event)
        self._held.discard(subject)
        if older is not None:
            self._file(older.number).unlink(missing_ok=True)

    def keep_in_memory(self, event: SandboxEvent) -> None:
        """Keep an event only in memory, because the disk is full. It gets the number of the event that it
        replaces, so that the file of that one is deleted with it."""
        subject = event.subject()
        older = self._waiting.get(subject)
        if older is not None and _says_the_same(event, older.event):
            return
        if older is None:
            self._last += 1
        self._waiting[subject] = Entry(older.number if older else self._last, event)
        self._held.add(subject)

    def drop(self, entry: Entry) -> None:
        """Delete an entry that the log has. Raises OSError, and then its file still exists."""
        subject = entry.event.subject()
        waiting = self._waiting.get(subject)
        if waiting == entry:
            del self._waiting[subject]
            self._held.discard(subject)
        elif waiting is not None and waiting.number == entry.number:
            return  # the file is deleted with that one
        self._file(entry.number).unlink(missing_ok=True)

    def keep(self) -> None:
        """Write what waits again if somebody has deleted the directory. Raises OSError."""
        if not self._directory.is_dir():
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            for entry in self.waiting():
                if not self.held(entry.event.subject()):
                    files.write(self._file(entry.number), codec.encode(entry.event), sync=True)
            log.warning("the journal was deleted: written again", directory=str(self._directory))

    def _file(self, number: int) -> Path:
        return self._directory / f"{number:016}.json"


def _says_the_same(event: SandboxEvent, older: SandboxEvent) -> bool:
    """Whether two events of a subject say the same. All SandboxRemoved of a subject do."""
    return event == older or (isinstance(event, SandboxRemoved) and isinstance(older, SandboxRemoved))


def is_settled(event: SandboxEvent, newest: object) -> bool:
    """Whether the log does not need the event, because `newest` of its subject already says it. A request is
    the pod's, whichever sandbox made it; a SandboxRemoved says that no sandbox of the name on this node needs
    an address."""
    if isinstance(event, SandboxRemoved):
        return not isinstance(newest, SandboxRequested)
    return isinstance(newest, SandboxRequested) and newest.uid == event.uid
