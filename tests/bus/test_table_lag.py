"""How much of what a writer wrote its table has not read."""

from __future__ import annotations

import pytest

from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.writing.table_lag import OVERHEAD, UNREAD, TableLag
from romana_bus.events import KUBE
from tests.contract.test_store import out

#: Messages of 1,000 bytes, and room for ten unread ones.
MESSAGE = out("kube.x", "x" * (1000 - OVERHEAD - len("kube.x")))
LIMIT = UNREAD * 10_000


class Table(MemoryStore):
    """A table that has read as far as `read`."""

    read = 0

    async def table_end(self, role: str) -> int:
        return self.read


def full(lag: TableLag) -> bool:
    return lag.full


@pytest.fixture
def store() -> Table:
    made = Table()
    made.limits[KUBE] = LIMIT
    return made


async def test_a_writer_waits_at_a_quarter_of_the_limit_until_the_table_has_read(store: Table) -> None:
    lag = TableLag(store, KUBE)
    lag.wrote(10, [MESSAGE] * 10)
    assert not full(lag)
    lag.wrote(11, [MESSAGE])
    assert full(lag)
    assert not await lag.look()
    assert full(lag)
    store.read = 10
    assert await lag.look()
    assert not full(lag)


async def test_a_log_without_a_limit_never_waits(store: Table) -> None:
    store.limits.clear()
    lag = TableLag(store, KUBE)
    lag.wrote(100_000, [MESSAGE] * 100_000)
    assert not full(lag)


async def test_many_small_writes_are_counted_in_few_parts(store: Table) -> None:
    store.limits[KUBE] = 1_000_000_000
    lag = TableLag(store, KUBE)
    for seq in range(1, 20_001):
        lag.wrote(seq, [MESSAGE])
    assert len(lag._sizes) < 10
    store.read = 20_000
    await lag.look()
    assert lag._unread == 0


async def test_what_was_not_stored_is_not_waited_for(store: Table) -> None:
    lag = TableLag(store, KUBE)
    lag.wrote(5, [MESSAGE] * 5)
    lag.wrote(12, [MESSAGE] * 7)
    seen = [full(lag)]
    lag.uncount(5)  # the second batch was refused
    seen.append(full(lag))
    lag.wrote(13, [MESSAGE] * 8)
    assert [*seen, full(lag)] == [True, False, True]
    lag.uncount(7)  # two of it were stored
    store.read = 7
    await lag.look()
    assert (full(lag), lag._unread) == (False, 0)
