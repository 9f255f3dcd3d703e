"""What the log does not know yet: on disk, in order, and the newest of each pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.cni.server.journal import Journal
from romana_bus.events import codec
from tests.cni.server.requests.outboxes import end, request, waiting

if TYPE_CHECKING:
    from pathlib import Path


def test_entries_survive_a_restart_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    events = [end("a", "one"), end("b", "two"), request("c", "three")]
    for event in events:
        journal.put(event)
    assert waiting(Journal(tmp_path)) == waiting(journal) == events
    journal.drop(journal.waiting()[0])
    assert waiting(Journal(tmp_path)) == events[1:]
    Journal(tmp_path).put(end("d", "four"))
    assert waiting(Journal(tmp_path)) == [*events[1:], end("d", "four")]


def test_newest_event_of_a_pod_replaces_the_older_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for event in (request("a"), end("a"), request("b")):
        journal.put(event)
        journal.put(event)
        assert waiting(journal) == waiting(Journal(tmp_path)) == [event]
    assert len(list(tmp_path.iterdir())) == 1


def test_removals_of_one_name_are_merged(tmp_path: Path) -> None:
    """A runtime may remove a pod's sandboxes of a hundred tries."""
    journal = Journal(tmp_path)
    journal.put(end("a"))
    files = list(tmp_path.iterdir())
    for event in (end("a"), end("b"), end("b", uid="u2")):
        journal.put(event)
        journal.keep_in_memory(event)
        assert waiting(journal) == waiting(Journal(tmp_path)) == [end("a")]
    assert list(tmp_path.iterdir()) == files


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "0000000000000007.json").write_text("{")
    (tmp_path / "note.json").write_bytes(codec.encode(end("a")))
    (tmp_path / "0000000000000008.new").write_text("half")
    journal = Journal(tmp_path)
    assert waiting(journal) == []
    journal.put(end("a"))
    assert waiting(Journal(tmp_path)) == [end("a")]
    assert (tmp_path / "0000000000000007.json").read_text() == "{"


def test_entry_kept_in_memory_only_is_refused_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    away = (tmp_path / "journal").rename(tmp_path / "away")  # nothing can be written, also not by root
    for _ in range(2):
        with pytest.raises(OSError, match="No such file"):
            journal.put(end("a"))
        journal.keep_in_memory(end("a"))
    away.rename(tmp_path / "journal")
    journal.put(end("a"))
    assert waiting(Journal(tmp_path / "journal")) == [end("a")]


def test_held_entry_removes_the_file_of_the_replaced_one(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.put(request("a"))
    journal.keep_in_memory(end("a"))
    for entry in journal.waiting():
        journal.drop(entry)
    assert waiting(Journal(tmp_path)) == []
