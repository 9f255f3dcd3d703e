"""Network namespaces for tests: made with names of their own, entered, and gone at the end whatever happens.

A socket belongs to the namespace of the thread that makes it, for ever: so a test enters a namespace, opens
what it needs there, and leaves; its event loop and its NATS connection stay outside.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from romana_bus.netlink import namespaces
from tests import kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

_numbers = itertools.count(1)


def why_not() -> str:
    """Why there can be no namespaces here; '' where there can be."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "no `ip` here: apt-get install iproute2"
    made = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return "" if made.returncode == 0 else f"no network namespaces here: {made.stderr.strip()}"


needs_namespaces = pytest.mark.skipif(bool(why_not()), reason=why_not())


class Namespace:
    def __init__(self, name: str) -> None:
        self.name = name

    def ip(self, *arguments: str) -> str:
        """Run `ip` in it; raises AssertionError with its output."""
        return self.run("ip", *arguments)

    def run(self, *command: str) -> str:
        ran = subprocess.run(
            ["ip", "netns", "exec", self.name, *command], capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{' '.join(command)}: {ran.stderr.strip() or ran.stdout.strip()}"
        return ran.stdout

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """This thread is in it, and what it starts: await nothing meanwhile."""
        with namespaces.visited(f"/run/netns/{self.name}"):
            yield

    def inside(self, make: Callable[[], T]) -> T:
        """What it makes, made there."""
        with self.entered():
            return make()

    def link(self, name: str, *addresses: str) -> int:
        """A veth with both ends here, up, with these addresses; gives its index."""
        self.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}-peer")
        self.ip("link", "set", f"{name}-peer", "up")
        for address in addresses:
            self.ip("address", "add", address, "dev", name, *(["nodad"] if ":" in address else []))
        self.ip("link", "set", name, "up")
        with self.entered():
            return socket.if_nametoindex(name)

    def settle(self) -> None:
        """Wait until its links have the addresses and routes that the kernel gives them in its own time."""
        deadline = time.monotonic() + 20
        while not self._settled():
            assert time.monotonic() < deadline, kernel.addresses(self.name)
            time.sleep(0.05)

    def _settled(self) -> bool:
        links = [name for name, link in kernel.links(self.name).items() if link.up and name != "lo"]
        addresses = [one for one in kernel.addresses(self.name) if one.scope == "link" and one.usable]
        routes = [route for route in self.routes() if route.destination == "fe80::/64"]
        return len(links) == len(addresses) == len(routes)

    def routes(self, protocol: int = 0, table: int = kernel.MAIN) -> list[kernel.Route]:
        """Of both families, in the kernel's order: of all protocols, or of one."""
        return kernel.routes(self.name, protocol, table)

    def gateway_to(self, address: str) -> str:
        """Of a packet to that address: '' where it is on-link. Raises AssertionError if it has no way."""
        route = kernel.route_to(self.name, address)
        assert route, f"no route to {address}"
        return route.gateway

    def nexthops(self) -> dict[int, dict[str, Any]]:
        return kernel.nexthops(self.name)


@contextlib.contextmanager
def namespace(label: str = "n") -> Iterator[Namespace]:
    """A fresh one with its loopback up."""
    made = Namespace(f"rbt-{os.getpid()}-{next(_numbers)}-{label}")
    subprocess.run(["ip", "netns", "add", made.name], check=True, capture_output=True)
    try:
        made.ip("link", "set", "lo", "up")
        made.run("sysctl", "-qw", "net.ipv6.conf.default.accept_dad=0")  # addresses are there at once
        yield made
    finally:
        subprocess.run(["ip", "netns", "delete", made.name], check=False, capture_output=True)
