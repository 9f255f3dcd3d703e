"""ADD and DEL on the real kernel: what a pod gets, and packets that arrive."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from tests.cni.node import execute, pings, sh
from tests.conftest import run

if TYPE_CHECKING:
    from tests.cni.conftest import Opening
    from tests.cni.node import Node, Pod

_hosts = itertools.count(1)


def fresh() -> tuple[str, str]:
    """An address of each family that nobody had yet."""
    number = next(_hosts)
    return f"10.77.0.{number}", f"fd77::{number:x}"


def decided(opened: Opening, node: Node, *pods: tuple[Pod, tuple[str, ...]]) -> None:
    async def decide() -> None:
        async with opened() as store:
            for pod, addresses in pods:
                await node.decide(store, pod, *addresses)

    run(decide())


@pytest.mark.parametrize("client", ["c", "python"])
def test_a_pod_gets_its_addresses_and_packets_arrive(node: Node, opened: Opening, client: str) -> None:
    pod, (four, six) = node.pod(), fresh()
    decided(opened, node, (pod, (four, six)))
    result = node.added(pod, client=client)
    assert [one["address"] for one in result["ips"]] == [f"{four}/32", f"{six}/128"]
    assert [one["gateway"] for one in result["ips"]] == ["169.254.1.1", "fe80::1"]
    host, inside = result["interfaces"]
    assert (inside["name"], inside["sandbox"]) == ("eth0", pod.path)
    assert host["mtu"] == inside["mtu"] == 1450  # of the default route's link
    assert pings(node.netns, four)
    assert pings(node.netns, six)
    assert pings(pod.netns, node.address)
    assert f"{four} dev {host['name']}" in node.routes()
    node.delete(pod, client=client)
    assert host["name"] not in node.ip("link")
    assert four not in node.ip("route")
    assert execute(pod.netns, "ip", "link", "show", "eth0").returncode != 0
