"""A NATS server's monitoring port: what a client cannot see of its configuration."""

from __future__ import annotations

from typing import Any

import msgspec

from romana_bus.errors import Failed


async def varz(monitor: str) -> dict[str, Any]:
    """The answer of /varz. `monitor`: URL of the port. Raises Failed."""
    import aiohttp  # here, since it takes 15 MB

    url = f"{monitor.rstrip('/')}/varz"
    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            return msgspec.json.decode(await answer.read(), type=dict[str, Any])
    except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError, ValueError) as error:
        raise Failed(f"--nats-monitor {monitor}: no usable answer from {url}: {error}") from None
