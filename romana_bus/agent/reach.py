"""Where the node reaches the log and the API server: host names resolved again and again."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import structlog

from romana_bus.inet import parse_address
from romana_bus.netlink.node_network import Reached

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from romana_bus.routing import Address

log = structlog.get_logger(__name__)

#: Seconds: between two looks at the connection, which may lead to another server now; between two
#: resolutions of all names; and that one resolution may take.
LOOK, RESOLVE, WITHIN = 5.0, 60.0, 2.0


def host_of(url: str) -> str:
    """The host of a URL, of HOST:PORT, or of an address alone, without brackets; '' if there is none."""
    if any(_parsed([url])):
        return url
    with contextlib.suppress(ValueError):
        return urlsplit(url if "://" in url else f"//{url}").hostname or ""
    return ""


class Reach:
    """The addresses of these hosts, names or addresses. A name that cannot be resolved keeps its last known
    addresses. `connected()`: the address of the server that the log's connection leads to, or ''."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self.connected: Callable[[], str] = str
        self._resolved: dict[str, frozenset[Address]] = {
            host: frozenset(_parsed([host])) for host in hosts if host
        }
        self._answered: set[Address] = set()
        self._names = [host for host, addresses in self._resolved.items() if not addresses]

    def now(self) -> Reached:
        """What is known now, without waiting."""
        connected = frozenset(_parsed([self.connected()]))
        self._answered |= connected
        return Reached(connected.union(*self._resolved.values()), frozenset(self._answered))

    async def resolve(self) -> None:
        """Resolve all names, within WITHIN seconds."""
        await asyncio.gather(*map(self._resolve, self._names))

    async def _resolve(self, name: str) -> None:
        try:
            async with asyncio.timeout(WITHIN):
                found = await asyncio.get_running_loop().getaddrinfo(name, None)
        except (OSError, TimeoutError, UnicodeError) as error:
            log.info("a host name cannot be resolved", name=name, why=str(error) or type(error).__name__)
        else:
            self._resolved[name] = frozenset(_parsed(str(address[4][0]) for address in found))

    async def keep_up(self, changed: Callable[[], None]) -> None:
        """Call `changed` whenever `now` has changed, until cancelled."""
        known, looks = self.now(), 0
        while True:
            await asyncio.sleep(LOOK)
            looks += 1
            if looks % (RESOLVE // LOOK) == 0:
                await self.resolve()
            if (current := self.now()) != known:
                known = current
                changed()


def _parsed(texts: Iterable[str]) -> Iterable[Address]:
    """Those of the texts that are addresses."""
    for text in texts:
        with contextlib.suppress(ValueError):
            yield parse_address(text)
