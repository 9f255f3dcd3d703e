"""Attaches a sandbox in the kernel: a veth pair with its addresses, routes and neighbours. For worker
threads.

    pod: eth0 A/32 and B/128, default via 169.254.1.1 and fe80::1 ◄─ veth ─► node: A/32 and B/128 dev rb...

Writes links, addresses, routes (protocol 83), neighbours and sysctls. Owns the links named `rb` and 13 hex
digits, with their addresses and routes. Names and hardware addresses depend only on the container's id and
the interface's name (`veth`), so the rest of an interrupted attempt is found and replaced.

A proxy neighbour entry on the veth answers for the gateway. The kernel uses it only if the host has another
route to the gateway's address, such as a default route (arp_process in net/ipv4/arp.c). So the pod also has a
permanent neighbour entry for its gateway, and needs no ARP.

An end of a veth pair that is set up before the other one has no carrier, and drops what it is given until the
kernel has noted, some time later, that it has got one (net/core/link_watch.c). So the host's end comes first,
the pod's end can send as soon as it is up, and ADD waits until the host's end can.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from pathlib import Path
from socket import if_indextoname
from typing import TYPE_CHECKING

from romana_bus.cni.link.veth import GATEWAY
from romana_bus.inet import V4, V6, format_address, parse_address
from romana_bus.netlink import links, namespaces
from romana_bus.netlink.constants import POD_ROUTES
from romana_bus.netlink.socket import Failure, Interrupted, NetlinkError, Socket

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.cni.link.veth import Veth

#: Addresses for documentation (RFC 5737, RFC 3849): only a default route leads to them.
_NOWHERE = ((V4, parse_address("203.0.113.1")[1]), (V6, parse_address("2001:db8::1")[1]))
_MTU = 1500
#: Seconds that ADD waits for the host's end: it normally takes less than one millisecond.
RUNS_WITHIN = 1.0
_SYSCTL = Path("/proc/sys/net")

_thread = threading.local()


class Taken(Exception):
    """The pod has an interface of that name that is not ours, or the node a route."""


class NoNamespace(Exception):
    """There is no network namespace at that path, or it is the node's own."""


# --- ADD ------------------------------------------------------------------------------------------------


def attach(wanted: Veth, netns: str) -> None:
    """Attach a sandbox; the rest of an earlier attempt is replaced. After a failure nothing is left.
    Raises Taken, NoNamespace, NetlinkError, OSError."""
    with _namespace(netns) as pod:
        with _host() as host:
            _make_pair(host, wanted, pod)
        try:
            with _host() as host:
                index = _host_end(host, wanted)
            _pod_end(wanted, pod)
            with _host() as host:
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
    index = _link(host, links.get_link(wanted.host)).ifindex
    _sysctl(f"ipv4/neigh/{wanted.host}/proxy_delay", "0")
    six = (_SYSCTL / "ipv6/conf" / wanted.host).exists()  # missing with a small MTU, and without IPv6
    if six:
        _sysctl(f"ipv6/conf/{wanted.host}/accept_ra", "0")  # pods must not be routers (CVE-2020-10749)
        _sysctl(f"ipv6/conf/{wanted.host}/disable_ipv6", "0" if wanted.six else "1")
    requests = links.for_pod(index, six=six)
    if wanted.six:
        requests.append(links.address(V6, GATEWAY[V6], index, length=64, link_local=True))
    if any(width == V4 for width, _ in wanted.addresses):
        requests.append(links.proxy(V4, GATEWAY[V4], index))
    _all_done(iter(host.batch(requests)))
    return index


def _pod_end(wanted: Veth, pod: int) -> None:
    """Configure the pod's end."""
    with namespaces.inside(pod, _home()):
        if wanted.six:
            _sysctl(f"ipv6/conf/{wanted.ifname}/disable_ipv6", "0")
            _sysctl(f"ipv6/conf/{wanted.ifname}/accept_dad", "0")
        with Socket() as socket:
            index = _link(socket, links.get_link(wanted.ifname)).ifindex
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
    """Last, when the pod can answer: what an older sandbox has is taken only when nothing else can fail."""
    requests = [links.on_link(*address, index, protocol=POD_ROUTES) for address in wanted.addresses]
    failures = host.batch(requests)
    _all_done(failure for failure in failures if failure.errno != errno.EEXIST)
    for failure in failures:
        _take_over(host, *wanted.addresses[failure.at], index)


def _until_running(host: Socket, index: int) -> None:
    """Wait until the host's end can send. Kernels since 6.8 (and 6.1.69, 6.6.8) note it while they answer."""
    patience = time.monotonic() + RUNS_WITHIN
    while not _link(host, links.get_link_at(index)).running and time.monotonic() < patience:
        time.sleep(0.0005)


def _take_over(host: Socket, width: int, value: int, index: int) -> None:
    """Move the route to an address from the veth of an older sandbox of the pod to this one, at once. Raises
    Taken."""
    existing = _route_to(host, width, value)
    if existing is not None and existing.protocol != POD_ROUTES:
        route = f"a route to {format_address(width, value)} of protocol {existing.protocol}"
        raise Taken(f"the node has {route}, which is not ours: remove it")
    host.do(links.on_link(width, value, index, protocol=POD_ROUTES, replace=True))


def check_namespace(netns: str) -> None:
    """Check the network namespace of a pod before waiting for its address. Raises NoNamespace."""
    with _namespace(netns):
        pass


# --- DEL ------------------------------------------------------------------------------------------------


def detach(host: str) -> None:
    """Delete the host's end of a veth pair, with its routes and neighbours; a route that moved to another
    veth stays. A missing link is not an error. Raises OSError."""
    try:
        with _host() as socket:
            socket.do(links.delete_link(host))
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise


# --- CHECK ----------------------------------------------------------------------------------------------


def faults(wanted: Veth, netns: str, routes: frozenset[tuple[int, int, int]]) -> list[str]:
    """What is missing of an attached sandbox, or differs. `routes`: (width, base, length) that are expected
    in the pod. Raises NoNamespace, OSError."""
    with _namespace(netns) as pod:
        inner, peer = _faults_in_pod(wanted, pod, routes)
    return inner + _faults_on_host(wanted, peer)


def _faults_in_pod(
    wanted: Veth, pod: int, expected: frozenset[tuple[int, int, int]]
) -> tuple[list[str], int]:
    name = wanted.ifname
    with namespaces.inside(pod, _home()), Socket() as socket:
        try:
            link = _link(socket, links.get_link(name))
        except NetlinkError:
            return [f"interface {name} is missing in the pod"], 0
        index = link.ifindex
        have = links.addresses(_dump(socket, links.get_addresses(index)), index)
        actual = {
            (route.width, route.base, route.length)
            for width in sorted({width for width, _, _ in expected})
            for route in links.routes(_dump(socket, links.get_routes(width)))
            if route.oif == index
        }
    faults = [] if link.up else [f"interface {name} of the pod is down"]
    if link.mac != wanted.mac:
        faults.append(f"interface {name} of the pod has the address {link.mac}, not {wanted.mac}")
    faults += [
        f"{name} has no {format_address(*address)}" for address in wanted.addresses if address not in have
    ]
    missing = [
        f"the pod has no route to {format_address(width, base)}/{length}"
        for width, base, length in sorted(expected - actual)
    ]
    return faults + missing, link.peer


def _faults_on_host(wanted: Veth, peer: int) -> list[str]:
    with _host() as host:
        return _faults_of_link(host, wanted, peer)


def _faults_of_link(host: Socket, wanted: Veth, peer: int) -> list[str]:
    try:
        link = _link(host, links.get_link(wanted.host))
    except NetlinkError:
        return [f"interface {wanted.host} is missing on the node"]
    faults = [] if link.up else [f"interface {wanted.host} of the node is down"]
    if peer and link.ifindex != peer:
        faults.append(f"{wanted.ifname} of the pod is not the other end of {wanted.host}")
    for width, value in wanted.addresses:
        route = _route_to(host, width, value)
        if route is None or (route.length, route.oif) != (width, link.ifindex):
            faults.append(f"the node has no route to {format_address(width, value)} over {wanted.host}")
    return faults


# --- what is attached -----------------------------------------------------------------------------------


def is_attached(host: str) -> bool:
    """Whether the veth with this host end exists; the kernel deletes it with the pod's namespace.
    Raises OSError."""
    try:
        with _host() as socket:
            _link(socket, links.get_link(host))
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    return True


def routed() -> dict[str, str]:
    """Address -> link, for all addresses that the kernel routes to pods of this node. Raises OSError."""
    link_of = {}
    for width in (V4, V6):
        with contextlib.suppress(NetlinkError), _host() as host:  # a kernel without IPv6
            for route in links.routes(_dump(host, links.get_routes(width, POD_ROUTES))):
                if route.length == width and route.protocol == POD_ROUTES:
                    with contextlib.suppress(OSError):  # the link was just deleted, and the route with it
                        link_of[format_address(width, route.base)] = if_indextoname(route.oif)
    return link_of


def uplink_mtu() -> int:
    """The MTU of the default route's link; without a default route that of Ethernet."""
    with _host() as host:
        for width, value in _NOWHERE:
            route = _route_to(host, width, value)
            if route is not None and route.oif:
                with contextlib.suppress(NetlinkError):
                    return _link(host, links.get_link_at(route.oif)).mtu
    return _MTU


# --- sockets and namespaces -----------------------------------------------------------------------------


def _home() -> int:
    """The node's namespace, in which every worker thread starts."""
    if not hasattr(_thread, "home"):
        _thread.home = namespaces.opened()
    home: int = _thread.home
    return home


@contextlib.contextmanager
def _host() -> Iterator[Socket]:
    """This thread's socket in the node's namespace. After an error of the socket itself, such as a timeout,
    it is replaced: a late answer would be taken for that of the next request."""
    if not hasattr(_thread, "socket"):
        _thread.socket = Socket()
    socket: Socket = _thread.socket
    try:
        yield socket
    except NetlinkError:
        raise
    except OSError:
        socket.close()
        if getattr(_thread, "socket", None) is socket:
            del _thread.socket
        raise


@contextlib.contextmanager
def _namespace(path: str) -> Iterator[int]:
    """A descriptor of a pod's namespace. Raises NoNamespace."""
    try:
        pod = namespaces.opened(path)
    except OSError as error:
        raise NoNamespace(f"{path}: {error.strerror}") from None
    try:
        if namespaces.same(pod, _home()):
            raise NoNamespace(f"{path} is the node's own network namespace")
        yield pod
    finally:
        namespaces.closed(pod)


def _link(socket: Socket, request: bytes) -> links.Link:
    """Raises NetlinkError."""
    (answer,) = socket.ask([request])
    if isinstance(answer, Failure):
        raise NetlinkError(answer.errno, str(answer))
    return links.link(answer)


def _route_to(socket: Socket, width: int, value: int) -> links.Route | None:
    (answer,) = socket.ask([links.get_route(width, value)])
    return None if isinstance(answer, Failure) else next(links.routes([answer]), None)


def _dump(socket: Socket, request: bytes) -> list[bytes]:
    while True:
        with contextlib.suppress(Interrupted):
            return socket.dump(request)


def _all_done(failures: Iterator[Failure]) -> None:
    for failure in failures:
        raise NetlinkError(failure.errno, str(failure))


def _sysctl(name: str, value: str) -> None:
    (_SYSCTL / name).write_text(value)
