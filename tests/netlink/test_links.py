"""A pod's link: what our messages made and what our parser reads, each held against what pyroute2 reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.inet import V4, V6, Prefix, format_address, parse_address
from romana_bus.netlink import links, namespaces
from romana_bus.netlink.socket import Socket
from tests import kernel
from tests.kernel import BOOT, PODS, Address, Neighbour, Route
from tests.lab import iproute
from tests.netns import Namespace, namespace, needs_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_namespaces

HOST, POD = ("rb0123456789abc", "0a:00:00:00:00:01"), ("eth0", "0e:00:00:00:00:02")
FOUR, SIX, GATEWAY = (parse_address(text) for text in ("10.7.0.1", "fd07::1", "169.254.1.1"))


@pytest.fixture
def host() -> Iterator[Namespace]:
    with namespace("host") as made:
        yield made


@pytest.fixture
def pod() -> Iterator[Namespace]:
    with namespace("pod") as made:
        yield made


@pytest.fixture
def socket(host: Namespace, pod: Namespace) -> Iterator[Socket]:
    """In the host's namespace, where the pair has been made."""
    there = namespaces.opened(f"/run/netns/{pod.name}")
    try:
        with host.inside(Socket) as opened:
            opened.do(links.new_pair(HOST, POD, there, 1400))
            yield opened
    finally:
        namespaces.closed(there)


def index(here: Namespace, link: str) -> int:
    return kernel.links(here.name)[link].ifindex


def test_veth_pair_has_the_requested_properties(host: Namespace, pod: Namespace, socket: Socket) -> None:
    outer, inner = kernel.links(host.name)[HOST[0]], kernel.links(pod.name)[POD[0]]
    assert (outer.mac, inner.mac) == (HOST[1], POD[1])
    assert (outer.kind, inner.kind) == ("veth", "veth")
    assert (outer.mtu, inner.mtu) == (1400, 1400)
    assert (outer.peer, inner.peer) == (inner.ifindex, outer.ifindex)
    assert not outer.up
    assert not inner.up
    assert kernel.links(host.name).keys() == {"lo", HOST[0]}
    assert kernel.links(pod.name).keys() == {"lo", POD[0]}


@pytest.mark.parametrize("six", [True, False])
def test_the_host_s_end_forwards_and_has_no_address_of_its_own(
    host: Namespace, socket: Socket, six: bool
) -> None:
    before = kernel.links(host.name)
    assert socket.batch(links.for_pod(before[HOST[0]].ifindex, six=six)) == []
    after = kernel.links(host.name)
    assert after[HOST[0]] == before[HOST[0]]._replace(
        up=True, forwarding=True, rp_filter=1, link_local=not six
    )
    assert after["lo"] == before["lo"]


def test_addresses_can_be_used_at_once(host: Namespace, socket: Socket) -> None:
    """Also where the kernel looks for duplicates of other addresses."""
    host.run("sysctl", "-qw", f"net.ipv6.conf.{HOST[0]}.accept_dad=1")
    at = index(host, HOST[0])
    gateway = links.address(*parse_address("fe80::1"), at, length=64, link_local=True)
    requests = [*links.for_pod(at, six=True), gateway, links.address(*FOUR, at), links.address(*SIX, at)]
    for _ in range(2):  # they may be repeated
        assert socket.batch(requests) == []
        assert kernel.addresses(host.name, HOST[0]) == {
            Address("fe80::1", 64, "link", usable=True),
            Address("10.7.0.1", 32, "universe", usable=True),
            Address("fd07::1", 128, "universe", usable=True),
        }


def test_neighbours_are_permanent_and_proxies_answer(host: Namespace, pod: Namespace, socket: Socket) -> None:
    """Also when the link loses its carrier, and gets it back."""
    at = index(host, HOST[0])
    requests = [
        *links.for_pod(at, six=True),
        links.neighbour(*FOUR, at, POD[1]),
        links.neighbour(*SIX, at, POD[1]),
        links.proxy(*GATEWAY, at),
    ]
    assert socket.batch(requests) == []
    for turned in ("up", "down", "up"):
        pod.ip("link", "set", "eth0", turned)
        assert socket.batch(requests if turned == "up" else []) == []
        found = kernel.neighbours(host.name, HOST[0])
        assert found["10.7.0.1"] == found["fd07::1"] == Neighbour(POD[1], permanent=True)
        assert kernel.proxies(host.name, HOST[0]) == {"169.254.1.1"}
        assert kernel.proxies(host.name, "lo") == set()


def test_routes_to_a_pod_are_marked_and_its_own_lead_to_the_gateway(host: Namespace, socket: Socket) -> None:
    at = index(host, HOST[0])
    requests = [
        *links.for_pod(at, six=True),
        *(links.on_link(*address, at, protocol=PODS) for address in (FOUR, SIX)),
        links.on_link(*GATEWAY, at),
        links.default_via(V4, GATEWAY[1], at),
        links.default_via(V6, parse_address("fe80::1")[1], at),
    ]
    assert socket.batch(requests) == []
    way = (("", HOST[0]),)
    assert kernel.routes(host.name, PODS) == [
        Route("unicast", "10.7.0.1", way, 0, PODS, "link", "", by_object=False),
        Route("unicast", "fd07::1", way, 1024, PODS, "universe", "", by_object=False),
    ]
    assert kernel.routes(host.name, BOOT) == [
        Route("unicast", "default", (("169.254.1.1", HOST[0]),), 0, BOOT, "universe", "", by_object=False),
        Route("unicast", "169.254.1.1", way, 0, BOOT, "link", "", by_object=False),
        Route("unicast", "default", (("fe80::1", HOST[0]),), 1024, BOOT, "universe", "", by_object=False),
    ]


def test_a_route_moves_to_another_link(host: Namespace, socket: Socket) -> None:
    at, other = index(host, HOST[0]), host.link("other")
    requests = [
        *links.for_pod(at, six=True),
        *(links.on_link(*address, other, protocol=PODS) for address in (FOUR, SIX)),
        *(links.on_link(*address, at, protocol=PODS, replace=True) for address in (FOUR, SIX)),
    ]
    assert socket.batch(requests) == []
    assert {route.destination: route.link for route in kernel.routes(host.name, PODS)} == {
        "10.7.0.1": HOST[0],
        "fd07::1": HOST[0],
    }


def test_a_deleted_link_is_gone_at_both_ends(host: Namespace, pod: Namespace, socket: Socket) -> None:
    socket.do(links.delete_link(HOST[0]))
    assert kernel.links(host.name).keys() == {"lo"}
    assert kernel.links(pod.name).keys() == {"lo"}


# --- what our parser reads ------------------------------------------------------------------------------


@pytest.fixture
def crowded(host: Namespace, socket: Socket) -> Namespace:
    """Links, addresses and routes of many kinds, none of them by our messages."""
    host.link("eth1", "10.99.0.1/16", "fd99::1/64", "10.98.0.1/32")
    host.ip("link", "add", "br0", "mtu", "1300", "type", "bridge")
    host.ip("address", "add", "10.97.0.1", "peer", "10.97.0.2/32", "dev", "br0")
    host.ip("link", "set", "eth1", "mtu", "9000")
    prefixes = [f"10.3.{at}.0/24" for at in range(200)] + [f"10.4.0.{at}" for at in range(200)]
    iproute.batch(host.name, (f"route add {prefix} dev eth1 proto 83" for prefix in prefixes))
    host.ip("route", "add", "default", "via", "10.99.0.9")
    host.ip("route", "add", "10.5.0.0/24", "via", "10.99.0.9", "table", "7")
    host.ip("-6", "route", "add", "fd05::/64", "via", "fd99::9", "proto", "83")
    host.ip("-6", "route", "add", "fd05:1::1", "dev", "eth1", "proto", "83")
    host.settle()
    return host


def test_links_are_read_as_they_are(crowded: Namespace, socket: Socket) -> None:
    running = kernel.running(crowded.name)
    for name, link in kernel.links(crowded.name).items():
        expected = links.Link(link.ifindex, name, link.mac, link.mtu, link.up, link.peer, name in running)
        by_name, by_index = socket.ask([links.get_link(name), links.get_link_at(link.ifindex)])
        assert isinstance(by_name, bytes)
        assert isinstance(by_index, bytes)
        assert links.link(by_name) == links.link(by_index) == expected


def test_addresses_are_read_as_they_are(crowded: Namespace, socket: Socket) -> None:
    for name, link in kernel.links(crowded.name).items():
        found = links.addresses(socket.dump(links.get_addresses(link.ifindex)), link.ifindex)
        assert {format_address(*address) for address in found} == {
            one.address for one in kernel.addresses(crowded.name, name)
        }


@pytest.mark.parametrize("protocol", [0, PODS])
def test_routes_are_read_as_they_are(crowded: Namespace, socket: Socket, protocol: int) -> None:
    indexes = {name: link.ifindex for name, link in kernel.links(crowded.name).items()}
    found = [
        (_destination(route), format_address(route.width, route.gateway) if route.gateway else "", route.oif,
         route.protocol)
        for width in (V4, V6)
        for route in links.routes(socket.dump(links.get_routes(width, protocol)))
    ]  # fmt: skip
    assert len(found) > 300
    assert found == [
        (route.destination, route.gateway, indexes[route.link], route.protocol)
        for route in kernel.routes(crowded.name, protocol)
    ]


def _destination(route: links.Route) -> str:
    if not route.length:
        return "default"
    prefix = Prefix(route.width, route.base, route.length)
    return format_address(route.width, route.base) if route.length == route.width else str(prefix)


@pytest.mark.parametrize(
    "address", ["10.3.7.1", "10.4.0.5", "10.99.3.3", "192.0.2.1", "fd05::1", "fd05:1::1"]
)
def test_route_lookup_of_an_address(crowded: Namespace, socket: Socket, address: str) -> None:
    (answer,) = socket.ask([links.get_route(*parse_address(address))])
    assert isinstance(answer, bytes)
    (route,) = links.routes([answer])
    expected = kernel.route_to(crowded.name, address)
    assert expected is not None
    gateway = format_address(route.width, route.gateway) if route.gateway else ""
    assert (gateway, route.oif) == (expected.gateway, kernel.links(crowded.name)[expected.link].ifindex)
