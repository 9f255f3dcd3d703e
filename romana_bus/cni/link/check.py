"""Reads a sandbox's link from the kernel: for CHECK, for the attachments that a restarted agent finds, and
for its reports.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
from socket import if_indextoname
from typing import TYPE_CHECKING

from romana_bus.cni.link.access import dump, home, host_socket, pod_namespace, read_link, route_to
from romana_bus.inet import V4, V6, format_address, parse_address
from romana_bus.netlink import links, namespaces
from romana_bus.netlink.constants import POD_ROUTES
from romana_bus.netlink.socket import NetlinkError, Socket

if TYPE_CHECKING:
    from romana_bus.cni.link.veth import Veth

#: Addresses for documentation (RFC 5737, RFC 3849): only a default route leads to them.
_NOWHERE = ((V4, parse_address("203.0.113.1")[1]), (V6, parse_address("2001:db8::1")[1]))
#: The MTU of Ethernet.
_MTU = 1500


def namespace_inode(netns: str) -> int:
    """The inode of a pod's network namespace. Raises NoNamespace."""
    with pod_namespace(netns) as pod:
        return os.fstat(pod).st_ino


def faults(wanted: Veth, netns: str, routes: frozenset[tuple[int, int, int]]) -> list[str]:
    """The differences between an attached sandbox and the kernel; [] if there are none. `routes`: (width,
    base, length) that are expected in the pod. Raises NoNamespace, OSError."""
    with pod_namespace(netns) as pod:
        inner, peer = _faults_in_pod(wanted, pod, routes)
    return inner + _faults_on_host(wanted, peer)


def _faults_in_pod(
    wanted: Veth, pod: int, expected: frozenset[tuple[int, int, int]]
) -> tuple[list[str], int]:
    name = wanted.ifname
    with namespaces.inside(pod, home()), Socket() as socket:
        try:
            link = read_link(socket, links.get_link(name))
        except NetlinkError:
            return [f"interface {name} is missing in the pod"], 0
        index = link.ifindex
        have = links.addresses(dump(socket, links.get_addresses(index)), index)
        actual = {
            (route.width, route.base, route.length)
            for width in sorted({width for width, _, _ in expected})
            for route in links.routes(dump(socket, links.get_routes(width)))
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
    with host_socket() as host:
        return _faults_of_link(host, wanted, peer)


def _faults_of_link(host: Socket, wanted: Veth, peer: int) -> list[str]:
    try:
        link = read_link(host, links.get_link(wanted.host))
    except NetlinkError:
        return [f"interface {wanted.host} is missing on the node"]
    faults = [] if link.up else [f"interface {wanted.host} of the node is down"]
    if peer and link.ifindex != peer:
        faults.append(f"{wanted.ifname} of the pod is not the other end of {wanted.host}")
    for width, value in wanted.addresses:
        route = route_to(host, width, value)
        if route is None or (route.length, route.oif) != (width, link.ifindex):
            faults.append(f"the node has no route to {format_address(width, value)} over {wanted.host}")
    return faults


def is_attached(host: str) -> bool:
    """Whether the veth with this host end exists; the kernel deletes it with the pod's namespace.
    Raises OSError."""
    try:
        with host_socket() as socket:
            read_link(socket, links.get_link(host))
    except NetlinkError as error:
        if error.errno != errno.ENODEV:
            raise
        return False
    return True


def is_lost(host: str, netns: str, inode: int) -> bool:
    """Whether a sandbox is gone with its network namespace: the host's end of its link does not exist, nor
    does the namespace at its path; what is there now is no namespace, or one with another inode (0: not
    known). As long as anything holds the namespace, such as a process or a mount elsewhere, the link exists.
    What cannot be read is not taken for gone. Raises OSError."""
    if is_attached(host):
        return False
    try:
        there = os.stat(netns)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    if there.st_dev != os.fstat(home()).st_dev:
        return True  # the file on which it was mounted
    return inode not in (0, there.st_ino)


def routed() -> dict[str, str]:
    """Address -> link, for all addresses that the kernel routes to pods of this node. Raises OSError."""
    link_of = {}
    name_of = functools.cache(if_indextoname)  # each is three system calls
    for width in (V4, V6):
        with contextlib.suppress(NetlinkError), host_socket() as host:  # a kernel without IPv6
            for route in links.routes(dump(host, links.get_routes(width, POD_ROUTES))):
                if route.length == width and route.protocol == POD_ROUTES:
                    with contextlib.suppress(OSError):  # the link was just deleted, and the route with it
                        link_of[format_address(width, route.base)] = name_of(route.oif)
    return link_of


def uplink() -> links.Link | None:
    """The default route's link. Raises OSError."""
    with host_socket() as host:
        for width, value in _NOWHERE:
            route = route_to(host, width, value)
            if route is not None and route.oif:
                with contextlib.suppress(NetlinkError):
                    return read_link(host, links.get_link_at(route.oif))
    return None


def uplink_mtu() -> int:
    """The MTU of the default route's link; without a default route that of Ethernet."""
    link = uplink()
    return link.mtu if link else _MTU
