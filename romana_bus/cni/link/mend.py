"""Reads what the kernel has of pods' links, one dump of each kind for the whole node, and makes right what
differs. For worker threads. `drift.py` compares.
"""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

from romana_bus.cni.link import sysctls
from romana_bus.cni.link.access import host_socket
from romana_bus.cni.link.drift import Actual
from romana_bus.cni.link.veth import GATEWAY, PREFIX
from romana_bus.inet import V4, V6, format_address
from romana_bus.netlink import links, pod_links
from romana_bus.netlink.constants import POD_ROUTES
from romana_bus.netlink.socket import NetlinkError, Socket, dump

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.cni.link.drift import Address, Drift

#: Links whose changes are one system call: some ten messages each.
BATCH = 32
#: Answers about a link that was deleted meanwhile, and about a route that is already removed.
_GONE = (errno.ENODEV, errno.ESRCH)


def read() -> Actual:
    """Raises OSError, Interrupted."""
    with host_socket() as host:
        ends = pod_links.host_ends(dump(host, pod_links.get_links()), PREFIX)
        gateways = {
            V4: pod_links.proxied_on(_dump(host, pod_links.get_proxies(V4)), V4, GATEWAY[V4]),
            V6: pod_links.links_with(_dump(host, links.get_addresses(width=V6)), V6, GATEWAY[V6]),
        }
        routes: dict[Address, frozenset[int]] = {}
        for width in (V4, V6):
            for route in links.routes(_dump(host, links.get_routes(width, POD_ROUTES))):
                if route.length == width and route.protocol == POD_ROUTES:
                    address = (width, route.base)
                    routes[address] = routes.get(address, frozenset()) | {route.oif}
    return Actual(ends, gateways, frozenset(_slow(ends)), routes)


def _slow(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        with contextlib.suppress(OSError):  # the link was just deleted
            if sysctls.read(f"ipv4/neigh/{name}/proxy_delay") != "0":
                yield name


def _dump(host: Socket, request: bytes) -> list[bytes]:
    try:
        return dump(host, request)
    except NetlinkError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):  # a kernel without IPv6
            return []
        raise


def apply(drifts: list[Drift]) -> dict[str, list[str]]:
    """Make right what is wrong; returns what was refused, as texts by link. One refusal does not stop the
    others, and a link that is gone is left alone. Raises OSError."""
    refused: dict[str, list[str]] = {}
    for drift in drifts:
        for name, value in drift.sysctls:
            try:
                sysctls.write(name, value)
            except FileNotFoundError:
                pass  # the link is gone
            except OSError as error:
                text = f"{sysctls.dotted(name)} cannot be set: {error.strerror}"
                refused.setdefault(drift.veth.host, []).append(text)
    for start in range(0, len(drifts), BATCH):
        requests = [
            (drift.veth.host, what, request)
            for drift in drifts[start : start + BATCH]
            for what, request in _requests(drift)
        ]
        with host_socket() as host:
            failures = host.batch([request for _, _, request in requests])
        for failure in failures:
            if failure.errno not in _GONE:
                link, what, _ = requests[failure.at]
                refused.setdefault(link, []).append(f"{what}: {failure}")
    return refused


def _requests(drift: Drift) -> Iterator[tuple[str, bytes]]:
    """What each request is for, and the request. Nothing is replaced that an ADD may just have made."""
    host, index = drift.veth.host, drift.ifindex
    if drift.down or drift.forward:
        for request in links.for_pod(index, six=False):
            yield host, request
    for width in drift.gateways:
        gateway = GATEWAY[width]
        yield (
            f"{format_address(width, gateway)} on {host}",
            links.proxy(width, gateway, index) if width == V4 else links.gateway(gateway, index),
        )
    for (width, value), link in drift.astray:
        yield _named(width, value), links.not_on_link(width, value, link, POD_ROUTES)
    for width, value in drift.missing:
        yield _named(width, value), links.on_link(width, value, index, protocol=POD_ROUTES)


def _named(width: int, value: int) -> str:
    return f"route to {format_address(width, value)}"
