"""Which nodes get probes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from romana_bus.connectivity.choice import Choice, NodeObject, choose
from romana_bus.connectivity.model import Node
from romana_bus.errors import BadInput

ZONE = "topology.kubernetes.io/zone"


def node(name: str, zone: str = "", ready: Any = "True", **labels: str) -> dict[str, Any]:
    addresses = [
        {"type": "Hostname", "address": name},
        {"type": "InternalIP", "address": "fd31::1"},
        {"type": "InternalIP", "address": "172.31.1.1"},
        {"type": "InternalIP", "address": "172.31.1.2"},
    ]
    conditions = [
        {"type": "MemoryPressure", "status": "False", "message": "kubelet has sufficient memory"},
        {"type": "Ready", "status": ready, "message": "network plugin not ready"},
    ]
    status = {"conditions": conditions, "addresses": addresses}
    zones = {ZONE: zone} if zone else {}
    return {"metadata": {"name": name, "labels": zones | labels}, "status": status}


def chosen(*nodes: dict[str, Any], per_zone: int = 2, named: tuple[str, ...] = ()) -> Choice:
    return choose(msgspec.convert(nodes, list[NodeObject]), ZONE, per_zone, named)


def names(choice: Choice) -> list[str]:
    return [each.name for each in choice.nodes]


def test_some_nodes_of_every_zone() -> None:
    nodes = [node(f"{zone}{count}", zone) for zone in "ba" for count in (3, 2, 1)] + [node("x")]
    choice = chosen(*nodes)
    assert names(choice) == ["x", "a1", "a2", "b1", "b2"]
    assert choice.more == 2
    assert choice.nodes[1] == Node("a1", "a", ("172.31.1.1", "fd31::1"), 10250)
    assert names(chosen(*nodes, per_zone=1)) == ["x", "a1", "b1"]
    assert names(chosen(*nodes, named=("b3", "a2"))) == ["a2", "b3"]


def test_kubelet_of_another_port() -> None:
    other = node("a1")
    other["status"]["daemonEndpoints"] = {"kubeletEndpoint": {"Port": 10255}}
    assert chosen(other).nodes[0].port == 10255


def test_nodes_that_cannot_get_probes_are_told() -> None:
    silent = {"metadata": {"name": "new"}, "status": {"conditions": None, "addresses": None}}
    windows = node("win", **{"kubernetes.io/os": "windows"})
    choice = chosen(node("a"), node("b", ready="False"), node("c", ready="Unknown"), silent, windows)
    assert names(choice) == ["a"]
    assert dict(choice.skipped) == {
        "b": "it is not Ready: network plugin not ready",
        "c": "it is not Ready: network plugin not ready",
        "new": "it is not Ready: it has not reported yet",
        "win": "it runs windows",
    }


@pytest.mark.parametrize(
    ("nodes", "named", "says"),
    [
        ([], (), "the cluster has none"),
        ([node("a", ready="False")], (), "no node can get probes: a: it is not Ready: network plugin"),
        ([node("a")], ("b",), "--node b: there is no such node"),
        ([node("a"), node("b", ready="False")], ("b",), "--node b: it is not Ready"),
    ],
)
def test_no_node_is_a_reason_not_to_run(nodes: list[Any], named: tuple[str, ...], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        chosen(*nodes, named=named)
