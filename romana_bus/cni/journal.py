"""What this node has to tell the log about sandboxes, on disk until the log has it.

Owns STATE_DIR/journal: one file for each event that waits, numbered in their order. The newest event of a
subject replaces an older one that still waits, as it would on the log; but the end of a sandbox never
replaces the wish of a newer one. It is on disk, past every cache, before `put` returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import structlog

from romana_bus import codec
from romana_bus.cni import disk
from romana_bus.events import SandboxEvent, SandboxRemoved, SandboxRequested

if TYPE_CHECKING:
    from pathlib import Path

log = structlog.get_logger(__name__)


class Entry(NamedTuple):
    """`found`: it was on disk when the agent started, and was not said again since."""

    number: int
    event: SandboxEvent
    found: bool = False


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
        self._waiting[event.subject()] = Entry(self._last, event, found=True)

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
        if older is not None and outlived(event, older.event):
            event = older.event
        if older is not None and older.event == event and subject not in self._held:
            self._said_again(subject, older)
            return
        number = self._last + 1
        disk.write(self._file(number), codec.encode(event), past_caches=True)
        self._last = number
        self._waiting[subject] = Entry(number, event)
        self._held.discard(subject)
        if older is not None:
            self._file(older.number).unlink(missing_ok=True)

    def _said_again(self, subject: str, entry: Entry) -> None:
        if entry.found:
            self._waiting[subject] = entry._replace(found=False)

    def hold(self, event: SandboxEvent) -> None:
        """In memory alone: there is no room for it on the disk. It has the number of what it replaces, whose
        file thus goes with it."""
        subject = event.subject()
        older = self._waiting.get(subject)
        if older is not None and (older.event == event or outlived(event, older.event)):
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


def outlived(event: SandboxEvent, there: object) -> bool:
    """Whether it is the end of a sandbox whose successor is wished for already."""
    return (
        isinstance(event, SandboxRemoved)
        and isinstance(there, SandboxRequested)
        and there.sandbox != event.sandbox
    )


def over(entry: Entry, there: object) -> bool:
    """Whether the log needs it no more, which has `there` as its newest word. The wish of a sandbox that has
    ended is over where it was found on disk: its file could not be removed. Else it is wished for again."""
    event = entry.event
    ended = (
        entry.found
        and isinstance(event, SandboxRequested)
        and isinstance(there, SandboxRemoved)
        and there.sandbox == event.sandbox
    )
    return ended or there == event or outlived(event, there)
