"""Relays NATS connections: from the gateway of a node's zone to the server on the machine's loopback.

The listening sockets are in the router's namespace, so a node reaches NATS over its own link, and loses it
with the link. A connection that cannot be relayed is closed, and the client retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from typing import TYPE_CHECKING

from romana_bus.errors import Failed
from romana_bus.lab.machine import netns
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

_CHUNK = 1 << 16


def listening(namespace: str, addresses: Iterable[str], port: int) -> list[socket.socket]:
    """Listening sockets on these addresses in the namespace. Raises Failed."""
    opened: list[socket.socket] = []
    try:
        with netns.inside(namespace):
            for address in addresses:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                opened.append(socket.create_server((address, port), family=family, backlog=128))
    except OSError as error:
        for listener in opened:
            listener.close()
        raise Failed(f"cannot listen in {namespace} on port {port}: {error.strerror}") from None
    return opened


@contextlib.asynccontextmanager
async def relayed(
    sockets: Iterable[socket.socket], target: Callable[[], tuple[str, int]]
) -> AsyncIterator[None]:
    """Relay connections while the context is open. `target`: called for each connection, returns the host
    and port to connect to. Raises Failed if `target` does."""
    async with contextlib.AsyncExitStack() as stack:
        for listener in sockets:
            server = await asyncio.start_server(functools.partial(_serve, target), sock=listener)
            stack.callback(server.close)
        yield


async def _serve(
    target: Callable[[], tuple[str, int]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with contextlib.closing(writer):
        try:
            there_reader, there_writer = await asyncio.open_connection(*target())
        except (OSError, Failed):
            return
        with contextlib.closing(there_writer), contextlib.suppress(OSError):
            await until_one_ends([_pass(reader, there_writer), _pass(there_reader, writer)])


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
