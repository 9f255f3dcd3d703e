"""What a kubelet makes of a pod."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from romana_bus.lab.kubelet import node, pods, static

HOST = ("172.31.1.11", "fd31::b")
SINCE = "2026-01-01T00:00:00Z"


def pod(**parts: Any) -> Any:
    spec = {"nodeName": "a1", "containers": [{"name": "main", "image": "i"}]}
    return {"metadata": {"name": "web", "namespace": "shop", "uid": "u1"}, "spec": spec, **parts}


def test_running_pod_reports_its_addresses_once() -> None:
    found = pods.Running(("10.20.0.3", "fd20::3"), HOST, "c0ffee", SINCE)
    status = pods.running(pod(), found)
    assert (status["phase"], status["podIP"], status["hostIP"]) == ("Running", "10.20.0.3", HOST[0])
    assert status["podIPs"] == [{"ip": "10.20.0.3"}, {"ip": "fd20::3"}]
    assert {one["type"]: one["status"] for one in status["conditions"]} == {
        "PodReadyToStartContainers": "True",
        "Initialized": "True",
        "Ready": "True",
        "ContainersReady": "True",
        "PodScheduled": "True",
    }
    assert not pods.says(pod(status={"phase": "Pending"}), status)
    assert pods.says(pod(status=status | {"more": 1}), status)


def test_pod_without_network_has_a_reason() -> None:
    status = pods.waiting(pod(), HOST, SINCE, "no address yet")
    assert status["phase"] == "Pending"
    assert "no address yet" in status["containerStatuses"][0]["state"]["waiting"]["message"]
    assert "no address yet" in pods.why_waiting(pod(status=status))
    shown = {field: value for field, value in status.items() if value is not None}
    assert pods.says(pod(status=shown), status)  # what a merge patch removed is not there


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10M", 10_000_000), ("1Ki", 1024), ("5", 5), ("2G", 2_000_000_000), ("", 0), ("x", 0), ("1m", 0)],
)
def test_bandwidth_annotations_are_quantities(text: str, rate: int) -> None:
    annotated = pod()
    annotated["metadata"]["annotations"] = {"kubernetes.io/ingress-bandwidth": text}
    assert pods.bandwidth(annotated).get("ingressRate", 0) == rate


def test_only_ports_of_the_host_are_mapped() -> None:
    found = pod()
    ports = [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]
    found["spec"]["containers"][0]["ports"] = ports
    assert pods.port_mappings(found) == [
        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp", "hostIP": ""}
    ]


def test_a_static_pod_is_another_when_its_manifest_changes(tmp_path: Any) -> None:
    path = tmp_path / "proxy.yaml"

    def uid(text: str, on: str = "a1") -> str:
        path.write_text(text)
        (found,) = static.read(tmp_path, on, SINCE).values()
        assert found["metadata"]["name"] == f"proxy-{on}"
        assert found["spec"]["nodeName"] == on
        shown = static.mirror(found)
        assert "uid" not in shown["metadata"]
        assert static.mirrored(shown) == found["metadata"]["uid"]
        return str(found["metadata"]["uid"])

    text = "kind: Pod\nmetadata: {name: proxy}\nspec: {containers: []}\n"
    assert uid(text) == uid(text)
    assert len({uid(text), uid(text, "a2"), uid(text + "# more\n")}) == 3


@pytest.mark.parametrize("text", ["", "[", "kind: Job\n", "kind: Pod\n", "kind: Pod\nmetadata: []\n", "7"])
def test_invalid_pods_are_left_out(tmp_path: Any, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    assert static.read(tmp_path, "a1", SINCE) == {}


def test_node_is_not_ready_with_a_reason_and_unknown_when_powered_off() -> None:
    who = node.Identity("a1", HOST, {"zone": "a"})
    shown = {"status": node.status(who, node.not_ready("no block"), SINCE)}
    assert not node.is_ready(shown)
    assert "no block" in node.why_not_ready(shown)
    shown = {"status": node.status(who, node.ready(SINCE), SINCE)}
    assert node.is_ready(shown)
    assert not node.is_ready({"status": node.unknown(shown, SINCE)})


def test_node_is_unknown_after_the_grace_period() -> None:
    who = node.Identity("a1", HOST, {"zone": "a"})
    at = datetime.fromisoformat(SINCE)
    for readiness in (node.ready(SINCE), node.not_ready("no block", SINCE)):
        shown = {"status": node.status(who, readiness, SINCE)}
        assert not node.is_silent(shown, at + timedelta(seconds=node.GRACE))
        assert node.is_silent(shown, at + timedelta(seconds=node.GRACE + 1))
        lost = {"status": node.unknown(shown, SINCE)}
        assert not node.is_silent(lost, at + timedelta(days=1))  # that is known already
    assert not node.is_silent({}, at)
