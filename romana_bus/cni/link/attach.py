"""Attaches a sandbox in the kernel: a veth pair with its addresses, routes and neighbours. For worker
threads.

    pod: eth0 A/32 and B/128, default via 169.254.1.1 and fe80::1 ◄─ veth ─► node: A/32 and B/128 dev rb...

Writes links, addresses, routes (protocol 83), neighbours and sysctls. Owns the links named `rb` and 13 hex
digits, with their addresses and routes. Names and hardware addresses depend only on the container's id and
the interface's name (`veth`), so the rest of an interrupted attempt is found and replaced.

A proxy neighbour entry on the veth answers for the gateway. The kernel uses it only if the host has another
route to the gateway's address, such as a default route (arp_process in net/ipv4/arp.c). So the pod also has a
permanent neighbour entry for its gateway, and needs no ARP.

The end of a veth pair that is set up first has no carrier. It drops packets until the kernel has noted, some
time after the other end is up, that it has a carrier (net/core/link_watch.c). So the host's end is set up
first: then the pod's end can send as soon as it is up, and ADD waits until the host's end can.
"""

from __future__ import annotations

import contextlib
import errno
import time
from typing import TYPE_CHECKING

from romana_bus.cni.link import sysctls
from romana_bus.cni.link.access import home, host_socket, pod_namespace, read_link, route_to
from romana_bus.cni.link.veth import GATEWAY
from romana_bus.inet import V4, V6, format_address
from romana_bus.netlink import links, namespaces
from romana_bus.netlink.constants import POD_ROUTES
from romana_bus.netlink.socket import Failure, NetlinkError, Socket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.cni.link.veth import Veth

#: Seconds that ADD waits for the host's end: it normally takes less than one millisecond.
RUNS_WITHIN = 1.0


class Taken(Exception):
    """The pod has an interface of that name that is not ours, or the node a route."""


# --- ADD ------------------------------------------------------------------------------------------------


def attach(wanted: Veth, netns: str) -> None:
    """Attach a sandbox; the rest of an earlier attempt is replaced. After a failure nothing is left.
    Raises Taken, NoNamespace, NetlinkError, OSError."""
    with pod_namespace(netns) as pod:
        with host_socket() as host:
            _make_pair(host, wanted, pod)
        try:
            with host_socket() as host:
                index = _host_end(host, wanted)
            _pod_end(wanted, pod)
            with host_socket() as host:
                _routes_to(host, wanted, index)
                _until_running(host, index)
        except BaseException:
            with contextlib.suppress(OSError):
                detach(wanted.host)
            raise


def _make_pair(host: Socket, wanted: Veth, pod: int) -> None:
    pair = links.new_pair((wanted.host, wanted.host_mac), (wanted.ifname, wanted.mac), pod, wanted.mtu)
    try:
        host.do(pair)
    except NetlinkError as error:
        if error.errno != errno.EEXIST:
            raise
        detach(wanted.host)
        try:
            host.do(pair)
        except NetlinkError as again:
            if again.errno == errno.EEXIST:
                raise Taken(f"the pod already has an interface {wanted.ifname}, which is not ours") from None
            raise


def _host_end(host: Socket, wanted: Veth) -> int:
    """Configure the host's end, and set it up; returns its index."""
    index = read_link(host, links.get_link(wanted.host)).ifindex
    sysctls.write(f"ipv4/neigh/{wanted.host}/proxy_delay", "0")
    six = sysctls.exists(f"ipv6/conf/{wanted.host}")  # missing with a small MTU, and without IPv6
    if six:
        sysctls.write(f"ipv6/conf/{wanted.host}/accept_ra", "0")  # pods must not be routers (CVE-2020-10749)
        sysctls.write(f"ipv6/conf/{wanted.host}/disable_ipv6", "0" if wanted.six else "1")
    requests = links.for_pod(index, six=six)
    if wanted.six:
        requests.append(links.gateway(GATEWAY[V6], index))
    if wanted.four:
        requests.append(links.proxy(V4, GATEWAY[V4], index))
    _all_done(iter(host.batch(requests)))
    return index


def _pod_end(wanted: Veth, pod: int) -> None:
    """Configure the pod's end."""
    with namespaces.inside(pod, home()):
        if wanted.six:
            sysctls.write(f"ipv6/conf/{wanted.ifname}/disable_ipv6", "0")
            sysctls.write(f"ipv6/conf/{wanted.ifname}/accept_dad", "0")
        with Socket() as socket:
            index = read_link(socket, links.get_link(wanted.ifname)).ifindex
            requests = [links.up(index)]
            optional = set()
            for width, value in wanted.addresses:
                requests.append(links.address(width, value, index))
                if width == V4:
                    requests.append(links.on_link(width, GATEWAY[width], index))
                requests.append(links.neighbour(width, GATEWAY[width], index, wanted.host_mac))
                optional.add(len(requests))  # a pod that already has a default route keeps it
                requests.append(links.default_via(width, GATEWAY[width], index))
            _all_done(
                failure
                for failure in socket.batch(requests)
                if failure.at not in optional or failure.errno != errno.EEXIST
            )


def _routes_to(host: Socket, wanted: Veth, index: int) -> None:
    """Add the routes to the pod, or take them over from an older sandbox. This comes last, when the pod can
    answer and nothing else can fail."""
    requests = [links.on_link(*address, index, protocol=POD_ROUTES) for address in wanted.addresses]
    failures = host.batch(requests)
    _all_done(failure for failure in failures if failure.errno != errno.EEXIST)
    for failure in failures:
        _take_over(host, *wanted.addresses[failure.at], index)


def _until_running(host: Socket, index: int) -> None:
    """Wait until the host's end can send. Kernels since 6.8 (and 6.1.69, 6.6.8) note it while they answer."""
    patience = time.monotonic() + RUNS_WITHIN
    while not read_link(host, links.get_link_at(index)).running and time.monotonic() < patience:
        time.sleep(0.0005)


def _take_over(host: Socket, width: int, value: int, index: int) -> None:
    """Move the route to an address from the veth of an older sandbox of the pod to this one, at once. Raises
    Taken."""
    existing = route_to(host, width, value)
    if existing is not None and existing.protocol != POD_ROUTES:
        route = f"a route to {format_address(width, value)} of protocol {existing.protocol}"
        raise Taken(f"the node has {route}, which is not ours: remove it")
    host.do(links.on_link(width, value, index, protocol=POD_ROUTES, replace=True))


# --- DEL ------------------------------------------------------------------------------------------------


def detach(host: str) -> None:
    """Delete the host's end of a veth pair, with its routes and neighbours; a route that moved to another
    veth stays. A missing link is not an error. Raises OSError."""
    try:
        with host_socket() as socket:
            socket.do(links.delete_link(host))
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise


def _all_done(failures: Iterator[Failure]) -> None:
    for failure in failures:
        raise NetlinkError(failure.errno, str(failure))
