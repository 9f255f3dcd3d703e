"""A packet that is sent as soon as ADD has answered."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from romana_bus.cni.link import access, attach
from romana_bus.cni.link.veth import veth
from tests.netns import Namespace, namespace, needs_namespaces

PODS, NODE, PORT = 25, "10.50.0.1", 4000


@needs_namespaces
def test_the_first_packet_arrives_both_ways() -> None:
    """Each end of a veth pair drops packets until the kernel has noted that it has a carrier, which for
    one of them is later than it is up."""
    with namespace("node") as node:
        node.ip("link", "set", "lo", "up")
        node.ip("address", "add", f"{NODE}/32", "dev", "lo")
        with ThreadPoolExecutor(1) as thread:  # `attach` remembers where its thread was at first
            lost = thread.submit(_lost, node).result()
    assert lost == []


def _lost(node: Namespace) -> list[str]:
    with node.entered():
        try:
            return [way for number in range(PODS) for way in _of_a_pod(number)]
        finally:
            access._thread.socket.close()


def _of_a_pod(number: int) -> list[str]:
    address, lost = f"10.60.0.{number + 1}", []
    with namespace(f"pod{number}") as pod, ExitStack() as stack:
        inner, outer = pod.inside(_udp), _udp()
        stack.callback(inner.close)
        stack.callback(outer.close)
        inner.bind(("", PORT))
        outer.bind((NODE, PORT + number))
        attach.attach(veth(pod.name, "eth0", [address], 1500), f"/run/netns/{pod.name}")
        outer.sendto(b"to the pod", (address, PORT))
        inner.sendto(b"to the node", (NODE, PORT + number))
        for receiver in (inner, outer):
            try:
                receiver.recv(100)
            except TimeoutError:
                lost.append(f"{'to' if receiver is inner else 'from'} {address}")
    return lost


def _udp() -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(3)
    return made
