"""A packet that is sent as soon as ADD has answered."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from romana_bus.cni.link import access, attach
from romana_bus.cni.link.veth import veth
from tests.netns import Namespace, namespace, needs_namespaces

PODS, PORT = 25, 4000
#: Of the node and of pods, by address family.
NODE = {socket.AF_INET: "10.50.0.1", socket.AF_INET6: "fd50::1"}
POD = {socket.AF_INET: "10.60.0.{}", socket.AF_INET6: "fd60::{}"}


@needs_namespaces
def test_the_first_packet_arrives_both_ways() -> None:
    """Each end of a veth pair drops packets until the kernel has noted that it has a carrier, which for
    one of them is later than it is up."""
    with namespace("node") as node:
        node.ip("link", "set", "lo", "up")
        for address in NODE.values():
            node.ip("address", "add", address, "dev", "lo")
        node.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
        with ThreadPoolExecutor(1) as thread:  # `attach` remembers where its thread was at first
            lost = thread.submit(_lost, node).result()
    assert lost == []


def _lost(node: Namespace) -> list[str]:
    with node.entered():
        try:
            return [way for number in range(PODS) for family in NODE for way in _of_a_pod(number, family)]
        finally:
            access._thread.socket.close()


def _of_a_pod(number: int, family: socket.AddressFamily) -> list[str]:
    address, lost = POD[family].format(number + 1), []
    with namespace(f"pod{number}") as pod, ExitStack() as stack:
        inner, outer = pod.inside(lambda: _udp(family)), _udp(family)
        stack.callback(inner.close)
        stack.callback(outer.close)
        inner.bind(("", PORT))
        outer.bind((NODE[family], PORT + number))
        attach.attach(veth(pod.name, "eth0", [address], 1500), f"/run/netns/{pod.name}")
        outer.sendto(b"to the pod", (address, PORT))
        inner.sendto(b"to the node", (NODE[family], PORT + number))
        for receiver in (inner, outer):
            try:
                receiver.recv(100)
            except TimeoutError:
                lost.append(f"{'to' if receiver is inner else 'from'} {address}")
    return lost


def _udp(family: socket.AddressFamily) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(3)
    return made
