"""The network under the nodes: a router with a bridge for each zone, and a link from there to each node.

    router: zone-a (bridge, 172.31.1.1/24) -- a1 ==== eth0 (172.31.1.11/24, default via 172.31.1.1) :a1
            zone-b (bridge, 172.31.2.1/24) -- b1 ==== eth0 ...                                      :b1

All of it is in the lab's namespaces; the machine's own namespace is not touched. The router forwards between
subnets, as the router of a data centre or a VPC does. Nodes do not announce their prefixes to it: it has a
static route for each zone's prefix, with every running node of the zone as a next hop. Any of them forwards
to the node that has the pod.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.errors import Failed
from romana_bus.lab.machine import netns, rtnl
from romana_bus.lab.spec import length_of
from romana_bus.netlink.constants import (
    BOOT,
    STATIC,
    TABLE_MAIN,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.lab.machine.rtnl import Kernel
    from romana_bus.lab.spec import Node, Spec, Zone

#: rp_filter off and no redirects: the router may send a packet to any node of a zone, so paths are not
#: symmetric, and a node sends some packets out on the link on which they arrived.
_FORWARDING = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
    "ipv6/conf/default/accept_dad": "0",  # an address that still detects duplicates cannot be bound
}


def build_router(spec: Spec) -> None:
    """Create the router's namespace, with a bridge for each zone. Raises Failed."""
    netns.add(spec.router)
    netns.sysctl(spec.router, _FORWARDING)

    def add_zones(kernel: Kernel) -> None:
        for zone in spec.zone_list:
            kernel.link("add", ifname=zone.name, kind="bridge", br_forward_delay=0, br_mcast_snooping=0)
            _bring_up(kernel, zone.name, zone.gateways)

    rtnl.within(spec.router, add_zones)


def build_node(spec: Spec, node: Node) -> None:
    """Create the node's namespace and its link. Raises Failed."""
    namespace = spec.namespace(node.name)
    netns.add(namespace)
    netns.sysctl(namespace, _FORWARDING)

    def add_link(kernel: Kernel) -> None:
        with open(netns.path(namespace), "rb") as node_namespace:
            peer = {"ifname": "eth0", "address": card(node), "net_ns_fd": node_namespace.fileno()}
            kernel.link("add", ifname=node.name, kind="veth", peer=peer)
        zone = rtnl.index(kernel, node.zone)
        kernel.link("set", index=rtnl.index(kernel, node.name), master=zone, state="up")

    def configure(kernel: Kernel) -> None:
        link = _bring_up(kernel, "eth0", node.addresses)
        for gateway in spec.zone(node.zone).gateways:
            default = "::/0" if ":" in gateway else "0.0.0.0/0"
            kernel.route("add", dst=default, gateway=gateway, oif=link, proto=BOOT)

    rtnl.within(spec.router, add_link)
    rtnl.within(namespace, configure)


def _bring_up(kernel: Kernel, name: str, addresses: Iterable[str]) -> int:
    """Set the link's addresses and bring it up; returns its index."""
    link = rtnl.index(kernel, name)
    for address in addresses:
        kernel.addr("add", index=link, address=address, prefixlen=length_of(address))
    kernel.link("set", index=link, state="up")
    return link


def card(node: Node) -> str:
    """The MAC address of the node's eth0. Like a network card's it stays the same after a power cut, so
    neighbour entries stay valid."""
    return "02:72:" + ":".join(f"{int(part):02x}" for part in node.addresses[0].split("."))


def cut(spec: Spec, node: Node) -> None:
    """Delete the node's link at once. The kernel deletes the links of a removed namespace later, and a node
    that is switched on again needs the name. May be repeated."""

    def delete(kernel: Kernel) -> None:
        for link in kernel.link_lookup(ifname=node.name):
            kernel.link("del", index=link)

    try:
        rtnl.within(spec.router, delete)
    except Failed:
        if rtnl.within(spec.router, lambda kernel: kernel.link_lookup(ifname=node.name)):
            raise  # else the kernel deleted it at the same moment


def unplug(spec: Spec, node: Node) -> None:
    """Unplug the node at the switch: its own link stays up. May be repeated."""
    rtnl.within(spec.router, lambda kernel: _set_master(kernel, node, 0))


def plug(spec: Spec, node: Node) -> None:
    """Plug the node in again. May be repeated."""
    rtnl.within(spec.router, lambda kernel: _set_master(kernel, node, rtnl.index(kernel, node.zone)))


def _set_master(kernel: Kernel, node: Node, master: int) -> None:
    kernel.link("set", index=rtnl.index(kernel, node.name), master=master)


def plugged(spec: Spec) -> set[str]:
    """The nodes that are plugged in."""
    if not netns.exists(spec.router):
        return set()
    return rtnl.within(
        spec.router,
        lambda kernel: {link.get("IFLA_IFNAME") for link in kernel.get_links() if link.get("IFLA_MASTER")},
    )


def route_zone(spec: Spec, zone: Zone, prefixes: Iterable[str], alive: Iterable[str]) -> None:
    """Set the router's static routes to a zone's pods, with one next hop for each running node of the zone.
    If none runs, the route is of type unreachable: packets must not follow a default route. May be
    repeated."""
    living = set(alive)
    nodes = [node for node in zone.nodes if node.name in living]

    def replace(kernel: Kernel) -> None:
        link = rtnl.index(kernel, zone.name)
        for prefix in prefixes:
            hops = [hop for node in nodes for hop in node.addresses if (":" in hop) == (":" in prefix)]
            if hops:
                through: dict[str, Any] = {"multipath": [{"gateway": hop, "oif": link} for hop in hops]}
            else:
                through = {"type": "unreachable"}
            kernel.route("replace", dst=prefix, proto=STATIC, **through)

    rtnl.within(spec.router, replace)


def unroute(spec: Spec, prefixes: Iterable[str]) -> None:
    """Remove the routes to prefixes that no zone has any more. A missing route is not an error."""
    gone = set(prefixes)

    def delete(kernel: Kernel) -> None:
        for route in kernel.get_routes(table=TABLE_MAIN, proto=STATIC):
            if rtnl.destination(route) in gone:
                kernel.route("del", dst=rtnl.destination(route), proto=STATIC)

    if gone:
        rtnl.within(spec.router, delete)
