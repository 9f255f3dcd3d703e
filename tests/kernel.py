"""What the kernel has in a network namespace, as pyroute2 reads it: an independent oracle for our messages.

Nothing here shares numbers or a parser with `romana_bus/netlink`. pyroute2 0.9.7 knows no nexthop objects and
cannot ask for proxies, so `ip` reads those.
"""

from __future__ import annotations

import errno
import subprocess
from concurrent.futures import ThreadPoolExecutor
from socket import AF_INET, AF_INET6
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
from pyroute2 import IPRoute, NetlinkError
from pyroute2.netlink.rtnl import rt_scope, rt_type

from romana_bus.lab.machine import netns

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

FAMILIES = (AF_INET, AF_INET6)
MAIN = 254
#: rtm_protocol
KERNEL, BOOT, STATIC, BIRD, BLOCKS, PODS = 2, 3, 4, 12, 82, 83
# linux/if.h, linux/if_addr.h, linux/neighbour.h, linux/rtnetlink.h
_UP, _TENTATIVE, _DAD_FAILED, _PERMANENT, _NH_ID = 0x1, 0x40, 0x08, 0x80, 30


class Link(NamedTuple):
    """`peer`: the index of a veth's other end. `forwarding`, `rp_filter`: of IPv4. `link_local`: whether IPv6
    makes an address by itself."""

    ifindex: int
    mac: str
    mtu: int
    up: bool
    kind: str
    peer: int
    forwarding: bool
    rp_filter: int
    link_local: bool


class Address(NamedTuple):
    """`usable`: duplicate address detection is over, or there is none, and it has found nothing."""

    address: str
    length: int
    scope: str
    usable: bool


class Neighbour(NamedTuple):
    mac: str
    permanent: bool


class Route(NamedTuple):
    """`paths`: gateway ('': on-link) and link. `by_object`: it has a nexthop object."""

    kind: str
    destination: str
    paths: tuple[tuple[str, str], ...]
    metric: int
    protocol: int
    scope: str
    source: str
    by_object: bool

    @property
    def gateway(self) -> str:
        """Of its only path."""
        ((gateway, _),) = self.paths
        return gateway

    @property
    def link(self) -> str:
        """Of its only path."""
        ((_, link),) = self.paths
        return link


def links(namespace: str) -> dict[str, Link]:
    return _ask(namespace, lambda kernel: {one.get("IFLA_IFNAME"): _link(one) for one in kernel.get_links()})


def running(namespace: str) -> set[str]:
    """The links whose carrier the kernel has noted: a moment after they have got it."""
    return _ask(
        namespace,
        lambda kernel: {
            one.get("IFLA_IFNAME") for one in kernel.get_links() if one.get("IFLA_OPERSTATE") == "UP"
        },
    )


def addresses(namespace: str, link: str = "") -> set[Address]:
    """Of one link, or of all."""

    def read(kernel: Any) -> set[Address]:
        index = _index(kernel, link)
        return {_address(one) for one in kernel.get_addr() if index in (0, one["index"])}

    return _ask(namespace, read)


def neighbours(namespace: str, link: str) -> dict[str, Neighbour]:
    """Address -> neighbour; its hardware address is '' while that is unknown."""

    def read(kernel: Any) -> dict[str, Neighbour]:
        index = _index(kernel, link)
        return {
            one.get("NDA_DST"): Neighbour(one.get("NDA_LLADDR") or "", bool(one["state"] & _PERMANENT))
            for one in kernel.get_neighbours()
            if one["ifindex"] == index
        }

    return _ask(namespace, read)


def proxies(namespace: str, link: str) -> set[str]:
    """The addresses that the kernel answers for on that link."""
    return {one["dst"] for one in _shown(namespace, "neigh", "show", "proxy", "dev", link)}


def rules(namespace: str) -> list[tuple[int, int, str, int]]:
    """Family, priority, source and table of each."""

    def read(kernel: Any) -> list[tuple[int, int, str, int]]:
        return [
            (family, rule.get("FRA_PRIORITY") or 0, rule.get("FRA_SRC") or "", rule.get("FRA_TABLE"))
            for family in FAMILIES
            for rule in kernel.get_rules(family=family)
        ]

    return _ask(namespace, read)


def routes(namespace: str, protocol: int = 0, table: int = MAIN) -> list[Route]:
    """Of both families, in the kernel's order: of all protocols, or of one."""

    def read(kernel: Any) -> list[Route]:
        names = _names(kernel)
        selected = {"table": table} | ({"proto": protocol} if protocol else {})
        return [
            _route(route, names)
            for family in FAMILIES
            for route in kernel.get_routes(family=family, **selected)
        ]

    return _ask(namespace, read)


def route_to(namespace: str, address: str) -> Route | None:
    """The way of a packet to that address; None where its sender hears that there is none."""

    def read(kernel: Any) -> Route | None:
        try:
            (route,) = kernel.route("get", dst=address)
        except NetlinkError as error:
            if error.code not in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                raise
            return None
        return _route(route, _names(kernel))

    return _ask(namespace, read)


def gateways(routes: list[Route]) -> dict[str, str]:
    """Destination -> gateway, of the routes that lead anywhere; of several paths all of them."""
    return {
        route.destination: " ".join(gateway for gateway, _ in route.paths)
        for route in routes
        if route.kind == "unicast"
    }


def nexthops(namespace: str) -> dict[int, dict[str, Any]]:
    """Id -> what `ip` shows of that nexthop object."""
    return {one["id"]: one for one in _shown(namespace, "nexthop", "show")}


def nexthop_ids(namespace: str, protocol: int) -> dict[str, int]:
    """Destination -> id of the nexthop object, of the routes of that protocol that have one."""
    return {
        route["dst"]: route["nhid"]
        for family in ("-4", "-6")
        for route in _shown(namespace, family, "route", "show", "proto", str(protocol))
        if "nhid" in route
    }


# --- asking ---------------------------------------------------------------------------------------------


def _ask(namespace: str, question: Callable[[Any], T]) -> T:
    """The answer comes from a thread of its own, which enters the namespace and ends with the question:
    pyroute2 runs an event loop, and the caller may be in one already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(_answer, namespace, question).result()


def _answer(namespace: str, question: Callable[[Any], T]) -> T:
    netns.enter(namespace)
    with IPRoute(strict_check=True) as kernel:  # the kernel selects: pyroute2 decodes 10,000 routes a second
        return question(kernel)


def _shown(namespace: str, *arguments: str) -> list[dict[str, Any]]:
    line = ["ip", "-json", "-n", namespace, *arguments]
    text = subprocess.run(line, capture_output=True, check=True).stdout.strip()
    return msgspec.json.decode(text, type=list[dict[str, Any]]) if text else []


def _names(kernel: Any) -> dict[int, str]:
    return {0: ""} | {one["index"]: one.get("IFLA_IFNAME") for one in kernel.get_links()}


def _index(kernel: Any, link: str) -> int:
    """0 where no link is named."""
    if not link:
        return 0
    indexes = kernel.link_lookup(ifname=link)
    assert indexes, f"there is no link {link}"
    return int(indexes[0])


# --- reading --------------------------------------------------------------------------------------------


def _link(message: Any) -> Link:
    info, families = message.get("IFLA_LINKINFO"), message.get("IFLA_AF_SPEC")
    four, six = families.get("AF_INET"), families.get("AF_INET6")
    return Link(
        message["index"],
        message.get("IFLA_ADDRESS"),
        message.get("IFLA_MTU"),
        bool(message["flags"] & _UP),
        (info and info.get("IFLA_INFO_KIND")) or "",
        message.get("IFLA_LINK") or 0,
        bool(four["forwarding"]),
        four["rp_filter"],
        bool(six) and six.get("IFLA_INET6_ADDR_GEN_MODE") == 0,
    )


def _address(message: Any) -> Address:
    return Address(
        message.get("IFA_LOCAL") or message.get("IFA_ADDRESS"),
        message["prefixlen"],
        rt_scope[message["scope"]],
        not message.get("IFA_FLAGS") & (_TENTATIVE | _DAD_FAILED),
    )


def _route(message: Any, names: dict[int, str]) -> Route:
    single = () if message.get("RTA_OIF") is None else (_path(message, message.get("RTA_OIF"), names),)
    many = tuple(_path(hop, hop["oif"], names) for hop in message.get("RTA_MULTIPATH") or ())
    return Route(
        rt_type[message["type"]],
        _destination(message),
        many or single,
        message.get("RTA_PRIORITY") or 0,
        message["proto"],
        rt_scope[message["scope"]],
        message.get("RTA_PREFSRC") or "",
        # An attribute that pyroute2 does not know has its header alone.
        any(name == "UNKNOWN" and value["header"]["type"] == _NH_ID for name, value in message["attrs"]),
    )


def _path(message: Any, index: int, names: dict[int, str]) -> tuple[str, str]:
    return message.get("RTA_GATEWAY") or "", names[index]


def _destination(message: Any) -> str:
    """`10.1.0.0/28`, an address alone where it is a route to one, or `default`, as `ip` has it."""
    address, length = message.get("RTA_DST"), message["dst_len"]
    if address is None:
        return "default"
    return str(address) if length == (128 if ":" in address else 32) else f"{address}/{length}"
