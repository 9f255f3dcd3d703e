"""What of a table is due to be deleted, and in which order."""

from __future__ import annotations

import pytest

from romana_bus import tasks
from romana_bus.bus.api import PASS_WITHIN, Message
from romana_bus.bus.jetstream import compaction
from romana_bus.bus.jetstream.compaction import Rows
from romana_bus.events.base import SECOND


def row(seq: int, subject: str, stored: int = 0, ttl: int = 0) -> Message:
    headers = f"NATS/1.0\r\nRomana-TTL: {ttl}\r\n\r\n" if ttl else "NATS/1.0\r\n\r\n"
    return Message(seq, subject, b"", headers.encode(), stored=stored * SECOND)


def test_the_oldest_of_a_subject_goes_first_and_a_tombstone_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "STAYS", 0.0)
    rows = Rows()
    for message in (
        row(1, "a"), row(2, "b"), row(3, "a"), row(4, "b", 10, 60), row(5, "a", 10, 60), row(6, "c", 10, 60),
        row(7, "c", 20),
    ):  # fmt: skip
        rows.note(message)
    gone: list[int] = []
    while due := rows.due(65 * SECOND, 2):
        assert rows.due(65 * SECOND, 2) == due, "until they are deleted"
        rows.deleted(due)
        gone += due
    assert gone == [1, 2, 3, 6]
    assert rows.due(70 * SECOND, 10) == []
    assert rows.due(70 * SECOND + 1, 10) == [4, 5]
    rows.deleted([4, 5])
    rows.note(row(8, "a"))
    assert rows.due(999 * SECOND, 10) == []


def test_a_tombstone_stays_for_a_pass_after_what_it_ended_however_old_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nobody has compacted for hours, or the server's clock went back: a reader may have passed the row."""
    time = 1000.0
    monkeypatch.setattr(tasks, "monotonic", lambda: time)
    rows = Rows()
    for message in (row(1, "a"), row(2, "b", 1, 1), row(3, "a", 2, 1)):
        rows.note(message)
    assert rows.due(9999 * SECOND, 10) == [1]
    time += 9999
    rows.deleted([1])
    assert rows.due(99999 * SECOND, 10) == []
    time += PASS_WITHIN
    rows.note(row(4, "c", 1, 1))
    assert rows.due(99999 * SECOND, 10) == [], "a reader's clock may be slower"
    time += PASS_WITHIN
    assert rows.due(99999 * SECOND, 10) == [2, 3]
    rows.deleted([2, 3])
    time += 2 * PASS_WITHIN
    assert rows.due(99999 * SECOND, 10) == [4]


@pytest.mark.parametrize("ttl", ["-1", "1.5", "", "9" * 12, "9" * 5000, "\u0663" * 5000])
def test_a_time_to_live_that_is_none_keeps_the_row(monkeypatch: pytest.MonkeyPatch, ttl: str) -> None:
    monkeypatch.setattr(compaction, "STAYS", 0.0)
    rows = Rows()
    rows.note(Message(1, "a", b"", f"NATS/1.0\r\nRomana-TTL: {ttl}\r\n\r\n".encode()))
    rows.note(row(2, "b", 1, 1))
    assert rows.due(9999 * SECOND, 10) == [2]


def test_what_nobody_needs_goes_once_it_is_older_than_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "SURVEY", 0.0)
    asked: list[list[str]] = []

    def unneeded(subjects: list[str]) -> list[str]:
        asked.append(subjects)
        return [subject for subject in subjects if subject != "living"]

    rows = Rows(unneeded, 100)
    for message in (
        row(1, "living"), row(2, "dead"), row(3, "dead", 10), row(4, "back", 10), row(5, "new", 60),
    ):  # fmt: skip
        rows.note(message)
    assert rows.due(111 * SECOND, 10) == [2], "the oldest first"
    rows.deleted([2])
    assert rows.due(110 * SECOND, 10) == []
    assert asked == [["living"]]
    assert rows.due(111 * SECOND, 10) == [3, 4]
    rows.note(row(6, "back", 111))  # before these could be deleted
    assert rows.due(111 * SECOND, 10) == [4]
    rows.deleted([4])
    assert rows.due(111 * SECOND, 10) == [3]
    rows.deleted([3])
    assert rows.due(999 * SECOND, 10) == [5, 6]


def test_a_tombstone_that_nobody_needs_is_due_once_and_not_before_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After an outage it may be older than the log."""
    time = 1000.0
    monkeypatch.setattr(tasks, "monotonic", lambda: time)
    rows = Rows(lambda subjects: subjects, 100)
    for message in (row(1, "a", 1, 1), row(2, "b", 1)):
        rows.note(message)
    assert rows.due(999 * SECOND, 10) == [2]
    rows.deleted([2])
    assert rows.due(999 * SECOND, 10) == [], "a reader may be behind it"
    time += 2 * PASS_WITHIN
    assert rows.due(999 * SECOND, 10) == [1]
    rows.deleted([1])
    assert rows.due(999 * SECOND, 10) == []
