"""Links, addresses and routes of a network namespace, by pyroute2. Blocking.

pyroute2 runs an event loop of its own, and the caller may be in one already: so each task has a thread of its
own, which enters the namespace and ends with the task. The import takes a third of a second, so the first
task does it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from romana_bus.errors import Failed
from romana_bus.lab.machine import netns

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: pyroute2.IPRoute and its messages, which have no types.
Kernel = Any
Route = Any


def within(namespace: str, task: Callable[[Kernel], T]) -> T:
    """Hand `task` the kernel of that namespace; gives its result. Raises Failed, with the kernel's reason."""
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
    """Raises Failed where there is no such link."""
    indexes = kernel.link_lookup(ifname=link)
    if not indexes:
        raise Failed(f"there is no link {link}")
    return int(indexes[0])


def destination(route: Route) -> str:
    """`10.20.0.0/29`, an address alone where it is a route to one, or `default`."""
    address, length = route.get("RTA_DST"), route["dst_len"]
    if address is None:
        return "default"
    return str(address) if length == (128 if ":" in address else 32) else f"{address}/{length}"
