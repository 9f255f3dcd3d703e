"""What the API server does not show any more: when that is believed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.events import Event, PodGone, PodSeen, ResourceListing, ResourceSynced
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.absence import AT_ONCE, SURELY, Absences
from romana_bus.producers.kubernetes.objects import PODS
from romana_bus.producers.kubernetes.progress import Watched, evolve
from tests.producers.kubernetes.test_observe import brief, listing, pod

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.producers.kubernetes.objects import Pod


def pods(count: int) -> list[Pod]:
    return [pod(f"p{number:03}", number + 1) for number in range(count)]


def cluster(count: int) -> Watched:
    state = Watched()
    listing(state, pods(count), 1000)
    return state


def gone(events: Iterable[Event]) -> list[str]:
    return [event.name for event in events if isinstance(event, PodGone)]


def looked_again(state: Watched, items: list[Pod], version: int, now: float) -> list[Event]:
    observe.begin_check(state, PODS)
    events = observe.listed(state, PODS, items)
    return events + observe.end_check(state, PODS, str(version), now)


def doubted(events: list[Event]) -> int:
    """As the log's mark says."""
    return next(event.doubted for event in reversed(events) if isinstance(event, ResourceSynced))


@pytest.mark.parametrize(("total", "missing"), [(5, 5), (10, 10), (1000, 10), (1000, 200)])
def test_few_are_gone_when_a_second_listing_agrees(total: int, missing: int) -> None:
    state, left = cluster(total), pods(total)[missing:]
    events = listing(state, left, 2000, now=1.0)
    assert (gone(events), doubted(events)) == ([], missing)
    events = looked_again(state, left, 2001, now=1.1)
    assert (len(gone(events)), doubted(events)) == (missing, 0)


@pytest.mark.parametrize(("total", "missing"), [(11, 11), (24, 24), (24, 12), (100, 21)])
def test_many_at_once_need_a_third_and_half_a_minute(total: int, missing: int) -> None:
    state, left = cluster(total), pods(total)[missing:]
    assert gone(listing(state, left, 2000, now=1.0)) == []
    assert gone(looked_again(state, left, 2001, now=2.0)) == []
    assert gone(looked_again(state, left, 2002, now=3.0)) == [], "three, but too fast"
    assert len(gone(looked_again(state, left, 2003, now=1.0 + SURELY))) == missing


def test_many_at_once_need_a_third_however_long_ago_the_first_was() -> None:
    state = cluster(24)
    assert gone(listing(state, [], 2000, now=1.0)) == []
    assert gone(looked_again(state, [], 2001, now=3600.0)) == []
    assert len(gone(looked_again(state, [], 2002, now=3600.1))) == 24


def test_one_wrong_listing_removes_nothing() -> None:
    state = cluster(24)
    assert gone(listing(state, [], 2000)) == []
    assert brief(looked_again(state, pods(24), 2001, now=1.0)) == ["ResourceSynced"]
    assert state.of("pods").absences.keys == frozenset()
    assert gone(listing(state, [], 3000)) == [], "it has to begin anew"


def test_disagreeing_wrong_listings_remove_nothing() -> None:
    state, all_ = cluster(24), pods(24)
    for turn in range(10):
        lacking = [one for at, one in enumerate(all_) if at % 2 == turn % 2]
        assert gone(looked_again_or_first(state, lacking, 2000 + turn, turn * 20.0)) == []


def looked_again_or_first(state: Watched, items: list[Pod], version: int, now: float) -> list[Event]:
    if state.of("pods").absences.keys:
        return looked_again(state, items, version, now)
    return listing(state, items, version, now=now)


def test_object_created_meanwhile_is_kept() -> None:
    state = cluster(3)
    listing(state, [], 2000)
    assert observe.changed(state, PODS, "MODIFIED", pod("p001", 2001)) == []
    assert gone(looked_again(state, [], 2000, now=1.0)) == ["p000", "p002"]


def test_watch_event_after_the_start_of_a_listing_overrides_it() -> None:
    state = cluster(4)
    listing(state, pods(4)[1:], 2000)
    observe.begin_check(state, PODS)
    (news,) = observe.changed(state, PODS, "MODIFIED", pod("p001", 2005, spec={"nodeName": "n9"}))
    assert gone(observe.changed(state, PODS, "DELETED", pod("p002", 2006))) == ["p002"]
    assert gone(observe.changed(state, PODS, "DELETED", pod("p000", 2007))) == ["p000"], "the second word"
    old = observe.listed(state, PODS, pods(4))
    assert [event.name for event in old if isinstance(event, PodSeen)] == []
    observe.end_check(state, PODS, "2004", 1.0)
    held = state.of("pods").held
    assert sorted(held) == ["web/p001", "web/p003"]
    assert isinstance(news, PodSeen)
    assert held["web/p001"].version == 2005


def test_restart_between_two_listings_lists_again() -> None:
    log = listing(Watched(), pods(3), 1000)
    state = Watched()
    for event in log:
        evolve(state, event)
    log += listing(state, [], 2000)
    again = Watched()
    for event in log:
        evolve(again, event)
    assert observe.resumes(state, PODS), "whoever doubts goes on watching"
    assert not observe.resumes(again, PODS)


def test_operator_confirmation_skips_further_listings() -> None:
    state = cluster(24)
    progress = state.of("pods")
    listing(state, [], 2000)
    progress.asked, progress.why, progress.believe = 7, "they are gone", True
    events = listing(state, [], 2001)
    assert len(gone(events)) == 24
    assert [event.reason for event in events if isinstance(event, ResourceListing)] == ["test"]
    listing(state, pods(24), 3000)
    assert gone(listing(state, [], 4000)) == [], "once"


def test_unreadable_item_in_a_list_removes_no_other() -> None:
    state = cluster(3)
    for version in (2000, 2001, 2002):
        observe.begin_listing(state, PODS, "test")
        observe.unread(state, PODS, "", "junk")
        assert gone(observe.end_listing(state, PODS, str(version), 100.0)) == []


def test_watch_deletions_are_rate_limited() -> None:
    state = cluster(100)
    told_gone = []
    for number, one in enumerate(pods(100)):
        one = pod(one.metadata.name, 2000 + number)
        told_gone += gone(observe.changed(state, PODS, "DELETED", one, now=5.0 + number / 1000))
    assert len(told_gone) == AT_ONCE
    assert len(state.of("pods").absences.keys) == 100 - AT_ONCE
    there = pods(100)[50:]
    events = looked_again(state, there, 3000, now=6.0)
    assert len(gone(events)) == 0, "more than ten, and more than a fifth"
    events = looked_again(state, there, 3001, now=40.0)
    assert len(gone(events)) == 50 - AT_ONCE


def test_deletions_before_the_limit_are_corrected_by_the_next_listing() -> None:
    """The true state repairs a false deletion, though its version is older."""
    state = cluster(40)
    for number, one in enumerate(pods(40)):
        observe.changed(state, PODS, "DELETED", pod(one.metadata.name, 2000 + number), now=5.0)
    events = looked_again(state, pods(40), 3000, now=6.0)
    back = [event for event in events if isinstance(event, PodSeen)]
    assert len(back) == AT_ONCE
    assert {event.listing for event in back} == {2}
    assert len(state.of("pods").held) == 40


def test_twenty_deletions_a_second_are_always_accepted() -> None:
    absences = Absences()
    assert all(absences.deleted(f"p{number}", number / 19) for number in range(500))
