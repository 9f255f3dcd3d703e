"""The stand-in for Kubernetes' node lifecycle controller: it marks a node whose kubelet has stopped
reporting as not ready, so that it gets no new pods. The kubelet marks it ready again when it is back.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from romana_bus.errors import RomanaError
from romana_bus.lab.kubeapi.resources import NODES
from romana_bus.lab.kubelet import node as shown

if TYPE_CHECKING:
    from romana_bus.kubernetes.client import KubeClient

log = structlog.get_logger(__name__)

#: Seconds between two checks.
_EVERY = 5.0


async def watch_nodes(client: KubeClient) -> None:
    """Mark silent nodes as not ready, until cancelled."""
    while True:
        now = datetime.now(UTC)
        try:
            for node in await client.objects(NODES):
                if shown.is_silent(node, now):
                    log.info("a node is silent", node=node["metadata"]["name"])
                    await lose(client, node["metadata"]["name"])
        except RomanaError as error:
            log.warning("nodes cannot be read", why=str(error))
        await asyncio.sleep(_EVERY)


async def lose(client: KubeClient, name: str) -> None:
    """Set the node's conditions to Unknown. Raises RomanaError."""
    there = await client.get(NODES, "", name)
    if there is not None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"status": shown.unknown(there, now)}
        await client.patch(NODES, "", name, body, kind="strategic", subresource="status")
