"""The events of several streams as one story: by time, and each stream in its own order whatever the server's
clock does."""

from __future__ import annotations

from romana_bus.bus.memory import MemoryStore
from romana_bus.bus.reading.tail import tail
from romana_bus.events import IPAM, KUBE, ROLES
from tests.contract.test_store import out

SUBJECTS = {KUBE: "kube.pod.web.p", IPAM: "ipam.address.n.web.p"}


async def merged(*stored: tuple[str, float]) -> list[str]:
    """What is shown of messages that were stored in this order, at these seconds by the server's clock."""
    store = MemoryStore()
    await store.prepare(ROLES)
    for role, store.now in stored:
        await store.publish(role, out(SUBJECTS[role]))
    batches = [batch async for batch in tail(store, (KUBE, IPAM), last=None, follow=False)]
    return [f"{role}/{message.seq}" for batch in batches for role, message in batch]


async def test_streams_are_merged_by_time() -> None:
    assert await merged((KUBE, 1), (IPAM, 2), (IPAM, 3), (KUBE, 4), (IPAM, 5)) == [
        "KUBE/1",
        "IPAM/1",
        "IPAM/2",
        "KUBE/2",
        "IPAM/3",
    ]


async def test_messages_of_one_moment_are_merged_in_the_order_of_the_streams() -> None:
    assert await merged((IPAM, 1), (KUBE, 1), (KUBE, 1)) == ["KUBE/1", "KUBE/2", "IPAM/1"]


async def test_clock_that_is_set_back_does_not_reorder_a_stream() -> None:
    hour = 3600.0
    found = await merged((KUBE, hour), (IPAM, hour + 1), (KUBE, 2), (IPAM, 3), (KUBE, 4), (IPAM, hour + 2))
    for role in (KUBE, IPAM):
        assert [one for one in found if one.startswith(role)] == [f"{role}/{seq}" for seq in (1, 2, 3)]
