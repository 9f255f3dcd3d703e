"""The network under the nodes: a router with a bridge for each zone, and a link from there to each node.

    router: zone-a (bridge, 172.31.1.1/24) -- a1 ==== eth0 (172.31.1.11/24, default via 172.31.1.1) :a1
            zone-b (bridge, 172.31.2.1/24) -- b1 ==== eth0 ...                                      :b1

All of it is in the namespaces; nothing is in the machine's own. Between subnets the router forwards, as
the router of a data centre or a VPC does. Until nodes announce their prefixes, the router has each
zone's as a static route to all nodes of the zone that are alive, any of which forwards to the right one.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from romana_bus.errors import Failed
from romana_bus.lab.machine import netns
from romana_bus.lab.spec import length_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.lab.spec import Node, Spec, Zone

#: rp_filter off and no redirects: the router may hand a packet to any node of a zone, so ways are not
#: symmetric, and a node sends some packets out where they came in.
_FORWARDING = {
    "ipv4/ip_forward": "1",
    "ipv4/conf/all/rp_filter": "0",
    "ipv4/conf/default/rp_filter": "0",
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv6/conf/all/forwarding": "1",
    "ipv6/conf/default/forwarding": "1",
    "ipv6/conf/default/accept_dad": "0",  # an address that still looks for its double cannot be bound
}


def build_router(spec: Spec) -> None:
    """Raises Failed."""
    netns.add(spec.router)
    netns.sysctl(spec.router, _FORWARDING)
    netns.batch(spec.router, [line for zone in spec.zone_list for line in _bridge(zone)])


def _bridge(zone: Zone) -> Iterable[str]:
    yield f"link add {zone.name} type bridge forward_delay 0 mcast_snooping 0"
    yield f"link set {zone.name} up"
    for address in zone.gateways:
        yield f"address add {address}/{length_of(address)} dev {zone.name}"


def build_node(spec: Spec, node: Node) -> None:
    """Its namespace and its link. Raises Failed."""
    name = spec.namespace(node.name)
    netns.add(name)
    netns.sysctl(name, _FORWARDING)
    netns.batch(
        spec.router,
        [
            f"link add {node.name} type veth peer name eth0 address {card(node)} netns {name}",
            f"link set {node.name} master {node.zone} up",
        ],
    )
    netns.batch(
        name,
        [
            *(f"address add {address}/{length_of(address)} dev eth0" for address in node.addresses),
            "link set eth0 up",
            *(_default(gateway) for gateway in spec.zone(node.zone).gateways),
        ],
    )


def card(node: Node) -> str:
    """The link layer address of its eth0: the same after a power cut, as a network card's is, so that
    neighbours need not learn it anew."""
    return "02:72:" + ":".join(f"{int(part):02x}" for part in node.addresses[0].split("."))


def _default(gateway: str) -> str:
    return f"route add default via {gateway} dev eth0"


def cut(spec: Spec, node: Node) -> None:
    """Take the node's link away, at once: the kernel takes its time with a namespace that was removed,
    and a node that comes back needs the name."""
    try:
        netns.ip("-n", spec.router, "link", "delete", node.name)
    except Failed:  # perhaps because it has just gone by itself
        links = netns.asked(spec.router, "link", "show", "type", "veth")
        if any(link.get("ifname") == node.name for link in links):
            raise


def unplug(spec: Spec, node: Node) -> None:
    """Take the cable out at the switch: to the node its link looks as before. May be repeated."""
    netns.ip("-n", spec.router, "link", "set", node.name, "nomaster")


def plug(spec: Spec, node: Node) -> None:
    """May be repeated."""
    netns.ip("-n", spec.router, "link", "set", node.name, "master", node.zone)


def plugged(spec: Spec) -> set[str]:
    """The nodes whose cables are in."""
    if not netns.exists(spec.router):
        return set()
    return {
        link["ifname"]
        for link in netns.asked(spec.router, "link", "show", "type", "veth")
        if "master" in link
    }


def route_zone(spec: Spec, zone: Zone, prefixes: Iterable[str], alive: Iterable[str]) -> None:
    """The router's static routes to a zone's pods: one next hop for each of its nodes that is alive.
    Where none is, the prefix is unreachable, instead of going round by some default. May be repeated."""
    living = set(alive)
    legs = [node for node in zone.nodes if node.name in living]
    netns.batch(spec.router, [_route(zone, prefix, legs) for prefix in prefixes])


def unroute(spec: Spec, prefixes: Iterable[str]) -> None:
    """Routes to what is no zone's any more. Those that are gone are no error."""
    for prefix in prefixes:
        with contextlib.suppress(Failed):
            netns.ip("-n", spec.router, "route", "delete", prefix, "proto", "static")


def _route(zone: Zone, prefix: str, legs: list[Node]) -> str:
    hops = [address for node in legs for address in node.addresses if (":" in address) == (":" in prefix)]
    if not hops:
        return f"route replace unreachable {prefix} proto static"
    return f"route replace {prefix} proto static" + "".join(
        f" nexthop via {address} dev {zone.name}" for address in hops
    )
