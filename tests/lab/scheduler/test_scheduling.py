"""Which node a pod is scheduled to, and the reason when there is none."""

from __future__ import annotations

import random
from typing import Any

import pytest

from romana_bus.lab.scheduler.choose import choose, wanted

Json = dict[str, Any]

ZONE = "topology.kubernetes.io/zone"


def node(name: str, zone: str = "a", *, ready: str = "True", **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "labels": {ZONE: f"zone-{zone}"}},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}]},
    }


def pod(name: str, **spec: Any) -> Json:
    metadata = {
        "namespace": "web",
        "name": name,
        "uid": f"u-{name}",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}}


def affinity(*terms: list[Json], fields: list[Json] | None = None) -> Json:
    listed = [{"matchExpressions": term} for term in terms]
    if fields:
        listed.append({"matchFields": fields})
    required = {"nodeSelectorTerms": listed}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}}


def chosen(pods: list[Json], nodes: list[Json]) -> list[str]:
    return [f"{one.name}>{one.node}" for one in choose(pods, nodes)]


NONE = {"key": "none", "operator": "Exists"}


def test_the_emptiest_node_and_then_the_first_by_name() -> None:
    nodes = [node("n2"), node("n1"), node("n3")]
    pods = [pod("x", nodeName="n1"), *(pod(name) for name in "abcd")]
    assert chosen(pods, nodes) == ["a>n2", "b>n3", "c>n1", "d>n2"]
    for _ in range(5):  # in whatever order they come
        random.shuffle(pods)
        random.shuffle(nodes)
        assert chosen(pods, nodes) == ["a>n2", "b>n3", "c>n1", "d>n2"]


def test_older_pods_choose_first() -> None:
    early, late = pod("z"), pod("a")
    early["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z"
    assert chosen([late, early], [node("n1"), node("n2")]) == ["z>n1", "a>n2"]


def test_finished_pods_do_not_count() -> None:
    ended = pod("x", nodeName="n1")
    ended["status"]["phase"] = "Succeeded"
    assert chosen([ended, pod("a")], [node("n1"), node("n2")]) == ["a>n1"]


@pytest.mark.parametrize(
    ("spec", "place"),
    [
        ({"nodeSelector": {ZONE: "zone-b"}}, "b1"),
        ({"affinity": affinity([{"key": ZONE, "operator": "In", "values": ["zone-b", "zone-c"]}])}, "b1"),
        ({"affinity": affinity([{"key": ZONE, "operator": "NotIn", "values": ["zone-a"]}])}, "b1"),
        (
            {
                "affinity": affinity(
                    [{"key": "none", "operator": "Exists"}], [{"key": ZONE, "operator": "Exists"}]
                )
            },
            "a1",
        ),
        ({"affinity": affinity([{"key": "none", "operator": "DoesNotExist"}])}, "a1"),
        ({"affinity": affinity(fields=[{"key": "metadata.name", "operator": "In", "values": ["b1"]}])}, "b1"),
        ({"affinity": affinity()}, ""),
        ({"affinity": affinity([])}, ""),
        ({"nodeSelector": {ZONE: "zone-c"}}, ""),
    ],
)
def test_labels_that_a_pod_wants(spec: Json, place: str) -> None:
    assert chosen([pod("p", **spec)], [node("a1", "a"), node("b1", "b")]) == [f"p>{place}"]


@pytest.mark.parametrize(("operator", "place"), [("Gt", "five"), ("Lt", "three")])
def test_labels_compared_as_numbers(operator: str, place: str) -> None:
    """A label that is no number fits neither (v1.NodeSelectorRequirement)."""
    nodes = [node(name) for name in ("five", "large", "three")]
    for each, size in zip(nodes, ("5", "large", "3"), strict=True):
        each["metadata"]["labels"]["size"] = size
    spec = {"affinity": affinity([{"key": "size", "operator": operator, "values": ["4"]}])}
    assert chosen([pod("p", **spec)], nodes) == [f"p>{place}"]


@pytest.mark.parametrize(
    ("spec", "placed"),
    [
        ({}, False),
        ({"tolerations": [{"key": "k", "operator": "Exists"}]}, True),
        ({"tolerations": [{"operator": "Exists"}]}, True),
        ({"tolerations": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}, True),
        ({"tolerations": [{"key": "k", "value": "w"}]}, False),
        ({"tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute"}]}, False),
    ],
)
def test_taints(spec: Json, placed: bool) -> None:
    tainted = node(
        "n", taints=[{"key": "k", "value": "v", "effect": "NoSchedule"}, {"key": "soft", "effect": "x"}]
    )
    assert chosen([pod("p", **spec)], [tainted]) == [f"p>{'n' if placed else ''}"]


def test_reasons_why_a_pod_is_unschedulable() -> None:
    nodes = [
        node("n1", unschedulable=True),
        node("n2", ready="Unknown"),
        node("n3", "b"),
        node("n4", taints=[{"key": "k", "effect": "NoExecute"}]),
        node("n5", "b"),
    ]
    (decision,) = choose([pod("p", nodeSelector={ZONE: "zone-a"})], nodes)
    assert decision.why == (
        "0/5 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were not ready, "
        "1 node(s) were unschedulable, 2 node(s) didn't match Pod's node affinity/selector."
    )
    (decision,) = choose([pod("p")], [])
    assert decision.why == "no nodes available to schedule pods"


def test_pods_of_other_schedulers() -> None:
    deleted, ended = pod("d"), pod("e")
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    ended["status"]["phase"] = "Failed"
    others = [
        pod("a", nodeName="n"),
        pod("b", schedulerName="mine"),
        pod("c", schedulingGates=[{"name": "g"}]),
    ]
    assert not any(wanted(one) for one in (*others, deleted, ended))
    assert wanted(pod("f", schedulerName="default-scheduler"))
