"""The leader writes settings only where there are none, and decides by those on the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.api import Refused, WrongSequence
from romana_bus.bus.memory import MemoryStore
from romana_bus.consumers.ipam import decider, put
from romana_bus.events import IPAM, KUBE, NODE, SPEC, Settings, SettingsChanged, codec
from romana_bus.ipam import State

if TYPE_CHECKING:
    from romana_bus.bus.api import Outgoing

OURS, THEIRS = Settings(cooldown=1), Settings(cooldown=2)


async def empty() -> MemoryStore:
    store = MemoryStore()
    await store.prepare((SPEC, KUBE, IPAM, NODE))
    return store


async def prepared(store: MemoryStore) -> State:
    """The state of a leader with our options that has read no settings."""
    leading, state = decider(OURS), State(OURS)
    assert leading.prepare is not None
    await leading.prepare(store, state)
    return state


async def stored(store: MemoryStore) -> Settings | None:
    newest = await store.newest(SPEC, "spec.settings")
    event = codec.decode(newest.body) if newest else None
    return event.settings if isinstance(event, SettingsChanged) else None


async def test_the_first_leader_writes_its_options() -> None:
    store = await empty()
    state = await prepared(store)
    assert await stored(store) == state.settings == OURS
    assert state.settings_seq == 1


async def test_settings_that_were_written_meanwhile_count_from_the_first_decision_on() -> None:
    store = await empty()
    await put(store, SettingsChanged(settings=THEIRS), 0)
    state = await prepared(store)
    assert await stored(store) == state.settings == THEIRS


async def test_a_leader_that_may_not_write_settings_leads_by_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    store = await empty()

    async def refuse(role: str, message: Outgoing, expected: int | None = None) -> int:
        raise Refused("permissions violation")

    monkeypatch.setattr(store, "publish", refuse)
    assert (await prepared(store)).settings == OURS


async def test_of_two_changes_at_the_same_time_one_is_refused() -> None:
    store = await empty()
    seq = await put(store, SettingsChanged(settings=OURS), 0)
    await put(store, SettingsChanged(settings=THEIRS), seq)
    with pytest.raises(WrongSequence):
        await put(store, SettingsChanged(settings=OURS), seq)
    assert await stored(store) == THEIRS
