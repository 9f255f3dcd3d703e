"""Who leads: what the lease survives, and when it is given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.api import (
    BusError,
    DuplicateId,
    Fenced,
    Outgoing,
    Refused,
    Rewound,
    Store,
    StreamMissing,
    Unavailable,
    WrongSequence,
)
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.memory import MemoryStore
from romana_bus.events import IPAM, ROLES
from romana_bus.runtime import election
from romana_bus.runtime.health import Health
from romana_bus.runtime.loop import run_decider
from tests.conftest import opener
from tests.runtime.small_consumers import NUMBERS, elections, events, running, say, seen, until_last

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from romana_bus.bus.api import Election, Lease
    from tests.servers import NatsServer

#: All that a request may end with, but that the connection is closed for good.
ERRORS = (Unavailable, StreamMissing, Refused, WrongSequence, DuplicateId, Rewound, Fenced)


async def fresh() -> MemoryStore:
    store = MemoryStore()
    await store.prepare(ROLES)
    return store


class Troubled:
    """A lease whose every request ends with an error while there is one."""

    def __init__(self, lease: Lease, errors: list[BusError]) -> None:
        self._lease, self._errors = lease, errors

    async def acquire(self) -> bool:
        return await self._unless_in_trouble(self._lease.acquire)

    async def renew(self) -> bool:
        return await self._unless_in_trouble(self._lease.renew)

    async def release(self) -> None:
        await self._lease.release()

    async def _unless_in_trouble(self, ask: Callable[[], Awaitable[bool]]) -> bool:
        if self._errors:
            raise self._errors[0]
        return await ask()


def troubled(monkeypatch: pytest.MonkeyPatch, store: MemoryStore, *errors: BusError) -> list[BusError]:
    """All leases of this store from now on; gives what has to be emptied for them to work, or filled."""
    plain, standing = store.lease, [*errors]
    monkeypatch.setattr(store, "lease", lambda *what: Troubled(plain(*what), standing))
    return standing


@pytest.mark.parametrize("kind", ERRORS)
async def test_leader_that_cannot_renew_its_lease_continues_and_reports_it(
    monkeypatch: pytest.MonkeyPatch, kind: type[BusError]
) -> None:
    """While the log does not answer there is nothing to lose: the fence holds."""
    monkeypatch.setattr(election, "RENEW", 0.001)
    monkeypatch.setattr(election, "RENEWED_WITHIN", 0.01)

    store, health = await fresh(), Health()
    errors = troubled(monkeypatch, store)
    async with running(run_decider(store, NUMBERS, "me", health)):
        await until_last(store, IPAM, 1)
        errors.append(kind("no lease today"))
        await until_problem(health, "numbers writes: the lease could not be renewed for 0 s: no lease today")
        await say(store, [seen("a")])
        await until_last(store, IPAM, 2)
        errors.clear()
        await until_problem(health, "")
        assert health.standing == ["numbers: leader"]
        await say(store, [seen("b")])
        await until_last(store, IPAM, 3)
    assert await elections(store) == ["me"]


async def until_problem(health: Health, text: str) -> None:
    """'': until there is none."""
    while (", ".join(health.problems) != text) if not text else (text not in health.problems):
        await asyncio.sleep(0.005)


async def test_a_lease_whose_stream_was_deleted_is_held_again(nats_server: NatsServer) -> None:

    async def holder_of(store: Any) -> str:
        try:
            found = await store.newest_of(store.layout.lease, "lease.ipam")
        except StreamMissing:
            return ""
        return found.body.decode() if found else ""

    opened = opener([nats_server.url])
    async with opened() as store, opened() as other:
        assert isinstance(store, JetStream)
        async with running(run_decider(store, NUMBERS, "me")):
            await until_last(store, IPAM, 1)
            await store.api(f"STREAM.DELETE.{store.layout.lease}")
            while await holder_of(other) != "me":
                await asyncio.sleep(0.02)
            assert not await other.lease("ipam", "other").acquire()
            await say(store, [seen("a")])
            await until_last(store, IPAM, 2)
        assert await elections(store) == ["me"]


class Held:
    """A store that keeps what is to be stored back until its gate is open, or for ever."""

    def __init__(self, store: Store) -> None:
        self._store, self.gate, self.waiting = store, asyncio.Event(), 0
        self.gate.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def batch(
        self, role: str, expected: int, messages: Sequence[Outgoing], election: Election | None = None
    ) -> Awaitable[int]:
        return self._later(role, expected, messages, election)

    async def _later(self, *what: Any) -> int:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        stored: int = await self._store.batch(*what)
        return stored


async def stopping(held: Held, store: MemoryStore) -> asyncio.Future[None]:
    """A leader that is stopped while a batch is in flight."""
    leading = asyncio.ensure_future(run_decider(held, NUMBERS, "me"))
    await until_last(store, IPAM, 1)
    held.gate.clear()
    await say(store, [seen("a")])
    while not held.waiting:
        await asyncio.sleep(0.001)
    leading.cancel()
    return leading


async def test_a_lease_is_given_up_when_what_is_in_flight_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the successor would be elected in the middle of it, and what is behind that be lost."""
    monkeypatch.setattr(election, "RENEW", 0.001)

    store = await fresh()
    held, successor = Held(store), store.lease("ipam", "successor")
    leading = await stopping(held, store)
    for _ in range(20):  # longer than the lease lasts: it is kept up
        store.advance(0.5)
        await asyncio.sleep(0.005)
        assert not await successor.acquire()
    held.gate.set()
    await asyncio.wait([leading])
    assert [event.name for event in (await events(store))[1:]] == ["a"]
    assert await successor.acquire()


async def test_a_leader_that_stops_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it takes the lease with it: that of one who may still have something in flight runs out."""
    monkeypatch.setattr(election, "STOP_WITHIN", 0.05)

    store = await fresh()
    held, successor = Held(store), store.lease("ipam", "successor")
    leading = await stopping(held, store)
    await asyncio.wait([leading])
    assert not await successor.acquire()
    store.advance(election.LEASE)
    assert await successor.acquire()


async def test_replica_that_could_not_take_over_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no leader, and it has no lease: it must not report that it is a standby."""
    monkeypatch.setattr(election, "POLL", 0.001)
    monkeypatch.setattr(election, "RENEWED_WITHIN", 0.01)

    store, health = await fresh(), Health()
    errors = troubled(monkeypatch, store, Unavailable("insufficient storage"))
    async with running(run_decider(store, NUMBERS, "me", health)):
        said = "numbers writes: the lease could not be taken for 0 s: insufficient storage"
        await until_problem(health, said)
        errors.clear()
        await until_problem(health, "")
