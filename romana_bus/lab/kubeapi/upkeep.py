"""Background tasks of the API server, until cancelled: compaction, and the renewal of its own lease."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.store import Store


async def compact_regularly(store: Store, interval: float) -> None:
    """Every `interval` seconds, compact to the version of `interval` seconds ago (apiserver,
    etcd3/compact.go)."""
    while True:
        version = store.version
        await asyncio.sleep(interval)
        if version <= store.version:  # it may be lower after a restore; etcd compacts no future version
            store.compact(version)


async def renew_lease(store: Store, interval: float) -> None:
    """Every `interval` seconds, increase the version as the renewal of the server's lease does. The lease
    itself is not served. So bookmarks of quiet resources have a new version."""
    while True:
        await asyncio.sleep(interval)
        store.advance(store.version + 1)
