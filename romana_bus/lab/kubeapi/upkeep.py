"""Tasks of the API server: compaction, and a lease whose renewal moves the version. Until cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.store import Store


async def compact_regularly(store: Store, interval: float) -> None:
    """Every `interval` seconds, to the version of `interval` seconds before (apiserver, etcd3/compact.go)."""
    while True:
        version = store.version
        await asyncio.sleep(interval)
        if version <= store.version:  # it may have gone back meanwhile, and etcd compacts nothing to come
            store.compact(version)


async def renew_lease(store: Store, interval: float) -> None:
    """Every `interval` seconds. The lease is not served; what is seen of it is that the version moves, so
    that bookmarks of quiet resources have something to say."""
    while True:
        await asyncio.sleep(interval)
        store.advance(store.version + 1)
