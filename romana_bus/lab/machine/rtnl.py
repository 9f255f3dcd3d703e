"""Links, addresses and routes of a network namespace, through pyroute2. Blocking.

pyroute2 runs its own event loop, and the caller may be in one already: so each task gets its own thread,
which enters the namespace and ends with the task. The import takes a third of a second, so it is left to the
first task.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from romana_bus.errors import Failed
from romana_bus.lab.machine import netns

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: pyroute2.IPRoute and its messages, which are untyped.
Kernel = Any
Route = Any


def within(namespace: str, task: Callable[[Kernel], T]) -> T:
    """Call `task` with the kernel of that namespace; returns its result. Raises Failed with the kernel's
    reason."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_run, namespace, task).result()


def _run(namespace: str, task: Callable[[Kernel], T]) -> T:
    from pyroute2 import IPRoute, NetlinkError

    netns.enter(namespace)
    try:
        with IPRoute() as kernel:
            return task(kernel)
    except NetlinkError as error:
        raise Failed(f"the kernel refuses, in the network namespace {namespace}: {error.args[1]}") from None


def index(kernel: Kernel, link: str) -> int:
    """The link's index. Raises Failed if it does not exist."""
    indexes = kernel.link_lookup(ifname=link)
    if not indexes:
        raise Failed(f"there is no link {link}")
    return int(indexes[0])


def destination(route: Route) -> str:
    """The route's destination: `10.20.0.0/29`, an address without length for a host route, or `default`."""
    address, length = route.get("RTA_DST"), route["dst_len"]
    if address is None:
        return "default"
    return str(address) if length == (128 if ":" in address else 32) else f"{address}/{length}"
