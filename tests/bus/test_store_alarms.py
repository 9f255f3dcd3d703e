"""When the store is nearly full, and that a store that only looks full is not."""

from __future__ import annotations

from romana_bus.bus.space.alarms import Room, StoreUse, StreamUse, alarms
from romana_bus.bus.store_size import log_bytes, tables_bytes
from romana_bus.events import IPAM, KUBE, NODE, ROLES

DAY = 86_400 * 1_000_000
NOW = 1000 * DAY
BUDGET = 1_000_000_000


def log(role: str = KUBE, share: float = 0.0, days: float = 7.0, first: int = 1) -> StreamUse:
    limit = log_bytes(BUDGET, role)
    return StreamUse(
        role, False, f"ROMANA_c_{role}", 10, int(share * limit), limit, first, first + 9,
        int(NOW - days * DAY), NOW, 7 * 86_400.0, 1, 0,
    )  # fmt: skip


def table(role: str = KUBE, size: int = 0) -> StreamUse:
    return StreamUse(role, True, f"ROMANA_c_{role}_LATEST", 10, size, 0, 1, 10, NOW - DAY, NOW, 0.0, 1, 0)


def store(*changed: StreamUse, rooms: tuple[Room, ...] = ()) -> StoreUse:
    """All logs and tables, empty unless they are `changed`."""
    every = [made for role in ROLES for made in (log(role), table(role))]
    named = {stream.name: stream for stream in changed}
    return StoreUse(tuple(named.get(stream.name, stream) for stream in every), rooms)


def test_an_empty_store() -> None:
    assert alarms(store(), NOW) == []


def test_a_full_log_that_keeps_its_window_is_well() -> None:
    assert alarms(store(log(share=0.97, days=7.0, first=500)), NOW) == []


def test_a_log_that_fills_slowly_enough_is_well() -> None:
    """At four fifths after six days, it is full after seven and a half."""
    assert alarms(store(log(share=0.80, days=6.0)), NOW) == []


def test_a_log_whose_limit_cuts_its_window() -> None:
    [text] = alarms(store(log(IPAM, share=1.0, days=2.5, first=100)), NOW)
    assert text.startswith("IPAM keeps 2.5 d instead of 7 d: it uses 100% of its 240 MB")
    assert "romana-bus store set" in text


def test_a_log_whose_limit_will_cut_its_window() -> None:
    [text] = alarms(store(log(share=0.8, days=2.0)), NOW)
    assert text.startswith("KUBE will keep 2.5 d instead of 7 d")
    assert alarms(store(log(share=0.79, days=2.0)), NOW) == []


def test_a_table_that_nobody_compacts() -> None:
    replaced = table(NODE)._replace(messages=60_000, subjects=9_000)
    [text] = alarms(store(replaced), NOW)
    assert text.startswith("the table of NODE has 51,000 messages that newer ones have replaced: `run ipam`")
    assert alarms(store(replaced._replace(subjects=10_000)), NOW) == []
    assert alarms(store(replaced._replace(messages=199_000, subjects=100_000)), NOW) == []


def test_tables_that_need_more_than_their_part() -> None:
    room = tables_bytes(BUDGET)
    assert alarms(store(table(size=room * 79 // 100)), NOW) == []
    [text] = alarms(store(table(KUBE, room // 2), table(IPAM, room * 4 // 10)), NOW)
    assert text.startswith("the tables' part of the store: 90% of 200 MB used")


def test_logs_and_tables_beyond_the_budget() -> None:
    logs = [log(role, share=0.95, days=7.0, first=9) for role in ROLES]
    [text] = alarms(store(*logs, table(size=tables_bytes(BUDGET) * 7 // 10)), NOW)
    assert text.startswith("the store (--store-size): 90% of 1 GB used")


def test_rooms_of_the_server_and_the_disk() -> None:
    rooms = (Room("the disk of /x", 80, 100), Room("the NATS server's JetStream storage", 79, 100))
    [text] = alarms(store(rooms=rooms), NOW)
    assert text.startswith("the disk of /x: 80% of 100 bytes used")


def test_a_store_without_limits() -> None:
    unlimited = [stream._replace(limit=0) for stream in store().streams]
    assert alarms(StoreUse(tuple(unlimited)), NOW) == []
