"""What the test says of a cluster that refuses, that answers nonsense, or whose pods do not run; and that it
always cleans up."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from romana_bus.connectivity import leftovers, manifests
from romana_bus.connectivity.cluster import RULES
from romana_bus.errors import BadInput
from romana_bus.kubernetes.resources import NAMESPACES
from romana_bus.lab.kubeapi.resources import VERBS
from tests.connectivity.cluster import NAMESPACE, FakeCluster, node_of, running
from tests.lab.faults import Fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Json = dict[str, Any]


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[FakeCluster]:
    async with FakeCluster(tmp_path) as made:
        yield made


def answer(code: int, body: Json) -> bytes:
    text = msgspec.json.encode(body)
    head = f"HTTP/1.1 {code} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n"
    return head.encode() + text


def status(code: int, message: str, reason: str = "") -> bytes:
    return answer(code, {"kind": "Status", "message": message, "reason": reason, "code": code})


async def test_a_cluster_in_which_everything_works(cluster: FakeCluster) -> None:
    report = await cluster.test()
    assert report.passed
    assert (report.failures, report.problems) == ((), ())
    assert report.nodes == ("a1", "a2", "b1")
    rows = {(row.what, row.family): (row.passed, row.failed) for row in report.rows}
    assert rows["pod to pod, same zone", 4] == (2, 0)
    assert rows["pod to API server", 4] == (3, 0)
    assert rows["node to API server", 4] == (3, 0)
    assert rows["name of the API server", 0] == (3, 0)
    assert list(rows)[:3] == [
        (f"pod to pod, {place}", 4) for place in ("same node", "same zone", "across zones")
    ]
    assert await cluster.left() == []
    assert cluster.told == []


async def test_what_a_probe_prints_is_in_the_report(cluster: FakeCluster) -> None:
    def log(pod: Json) -> str:
        usual = cluster.usual_log(pod)
        return usual.replace("ok 0\n", "no 0 nc: timed out\n") if node_of(pod) == "b1" else usual

    cluster.log = log
    report = await cluster.test(skip=frozenset({"host", "nodes"}))
    assert not report.passed
    (failure,) = [each for each in report.failures if each.source == "pod on b1"]
    assert (failure.target, failure.error) == ("pod on a1", "nc: timed out")
    assert failure.stopped.startswith("between nodes b1 and a1, at the router between their zones: ")
    assert sum(row.failed for row in report.rows) == len(report.failures)


@pytest.mark.parametrize(
    ("verb", "plural"),
    [
        ("list", "nodes"),
        ("get", "services"),
        ("create", "namespaces"),
        ("list", "namespaces"),
        ("create", "pods"),
        ("list", "pods"),
    ],
)
async def test_missing_rules_are_all_named(cluster: FakeCluster, verb: str, plural: str) -> None:
    cluster.server.forbid(verb, plural)
    with pytest.raises(BadInput) as refused:
        await cluster.test()
    said = str(refused.value)
    assert f'cannot {verb} resource "{plural}"' in said
    for rule in RULES:
        assert rule in said
    cluster.server.allow(verb, plural)
    assert await cluster.left() == []


#: What the rules allow, as (verb, resource); the subresource log is read as the pod.
ALLOWED = {("get", "pods")} | {
    (verb, plural)
    for rule in yaml.safe_load(f"[{', '.join(RULES)}]")
    for plural in rule["resources"]
    for verb in rule["verbs"]
}


async def test_who_may_do_nothing_is_told_once(cluster: FakeCluster) -> None:
    for verb in ("create", "delete"):
        cluster.server.forbid(verb, "namespaces")
    with pytest.raises(BadInput, match="cannot create"):
        await cluster.test()
    assert cluster.told == []  # nothing was created: there is nothing to remove


async def test_the_rules_are_enough(cluster: FakeCluster) -> None:
    kubelet = {("watch", "pods"), ("patch", "pods")}  # the cluster's own
    for verb in VERBS:
        for plural in ("namespaces", "nodes", "pods", "services"):
            if (verb, plural) not in ALLOWED | kubelet:
                cluster.server.forbid(verb, plural)
    assert (await cluster.test()).passed
    assert await cluster.left() == []


def test_the_documentation_has_the_rules() -> None:
    text = Path(__file__).parents[2].joinpath("docs/connectivity.md").read_text()
    (role,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert yaml.safe_load(role)["rules"] == yaml.safe_load(f"[{', '.join(RULES)}]")


async def test_pods_that_are_refused_for_another_reason(cluster: FakeCluster) -> None:
    said = 'pods "listener-0" is forbidden: violates PodSecurity "restricted:latest": hostPort'
    cluster.server.faults.append(Fault("create", "pods", raw=status(403, said, "Forbidden")))
    with pytest.raises(BadInput) as refused:
        await cluster.test()
    assert said in str(refused.value)
    assert "Allow it" not in str(refused.value)  # no rule would help
    assert await cluster.left() == []


async def test_a_service_account_that_comes_late(cluster: FakeCluster) -> None:
    said = f'pods "x" is forbidden: error looking up service account {NAMESPACE}/default: not found'
    cluster.server.faults.append(Fault("create", "pods", times=2, raw=status(403, said, "Forbidden")))
    assert (await cluster.test()).passed


@pytest.mark.parametrize(
    ("verb", "plural", "body"),
    [
        ("list", "nodes", {"kind": "Status", "status": "Success"}),
        ("list", "nodes", {"items": [{"metadata": {}}]}),
        ("list", "nodes", {"items": [{"metadata": {"name": "a1"}, "status": {"conditions": 7}}]}),
        ("list", "nodes", {"items": 7}),
        ("list", "nodes", {"items": None}),
        ("get", "services", {"kind": "Status"}),
        ("get", "services", {"spec": {"clusterIPs": "none"}}),
        ("create", "namespaces", {"kind": "Status", "status": "Success"}),
        ("list", "namespaces", {"items": [{"metadata": {"name": "x", "creationTimestamp": "soon"}}]}),
        ("list", "pods", {"items": [{"metadata": {"name": "listener-0"}, "status": {"podIPs": 1}}]}),
    ],
)
async def test_answers_that_are_something_else(
    cluster: FakeCluster, verb: str, plural: str, body: Json
) -> None:
    cluster.server.faults.append(Fault(verb, plural, raw=answer(200, body)))
    with pytest.raises(BadInput):
        await cluster.test()
    assert await cluster.left() == []


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName"])
async def test_an_image_that_cannot_be_pulled_is_told_at_once(cluster: FakeCluster, reason: str) -> None:
    state = {"waiting": {"reason": reason, "message": "no such host registry.example"}}
    cluster.status = lambda _: {"phase": "Pending", "containerStatuses": [{"state": state}]}
    with pytest.raises(BadInput, match=f"{reason}: no such host registry.example: choose another --image"):
        await cluster.test(wait=3600.0)
    assert await cluster.left() == []


async def test_an_image_without_a_shell(cluster: FakeCluster) -> None:
    state = {"terminated": {"reason": "StartError", "exitCode": 128, "message": 'exec: "sh": not found'}}
    cluster.status = lambda _: {"phase": "Failed", "containerStatuses": [{"state": state}]}
    with pytest.raises(BadInput, match='exec: "sh": not found'):
        await cluster.test(wait=3600.0)


async def test_a_pod_that_no_node_takes(cluster: FakeCluster) -> None:
    why = "0/3 nodes are available: 1 node(s) didn't have free ports for the requested pod ports."
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}

    def of(pod: Json) -> Json:
        if node_of(pod) == "b1" and pod["metadata"]["name"].startswith("listener"):
            return {"phase": "Pending", "conditions": [condition]}
        return cluster.usual_status(pod)

    cluster.status = of
    report = await cluster.test(wait=1.0)
    assert report.problems == (f"the listener on b1 does not run: Unschedulable: {why}",)
    assert not report.passed
    assert report.failures == ()
    assert {row.what for row in report.rows} > {"pod to pod, same zone"}  # the others are tested


async def test_a_probe_that_has_no_network(cluster: FakeCluster) -> None:
    def of(pod: Json) -> Json:
        state = {"waiting": {"reason": "ContainerCreating"}}
        why = {"type": "PodReadyToStartContainers", "status": "False", "message": "plugin failed (add)"}
        if node_of(pod) == "a2":
            return {"phase": "Pending", "containerStatuses": [{"state": state}], "conditions": [why]}
        return cluster.usual_status(pod)

    cluster.status = of
    report = await cluster.test(wait=1.0)
    assert report.problems == (
        "the listener on a2 does not run: plugin failed (add)",
        "the probe of pod on a2 does not run: plugin failed (add)",
        "the probe of node a2 does not run: plugin failed (add)",
    )


async def test_a_listener_that_ends_says_why(cluster: FakeCluster) -> None:
    cluster.status = lambda _: {"phase": "Failed"}
    cluster.log = lambda _: "fatal the image has neither BusyBox's nc nor Perl\n"
    report = await cluster.test()
    assert report.problems[0] == (
        "the listener on a1 does not run: the image has neither BusyBox's nc nor Perl"
    )
    assert not report.passed


async def test_a_pod_of_which_nothing_is_said(cluster: FakeCluster) -> None:
    cluster.status = lambda pod: None if node_of(pod) == "a1" else cluster.usual_status(pod)
    report = await cluster.test(wait=0.5)
    assert report.problems[0] == "the listener on a1 does not run: its kubelet has not said why"


async def test_a_log_that_cannot_be_read(cluster: FakeCluster) -> None:
    refused = status(500, 'Get "https://172.31.1.1:10250/containerLogs/": i/o timeout', "InternalError")
    cluster.server.faults.append(Fault("get", "pods", raw=refused))
    report = await cluster.test()
    (problem,) = report.problems
    assert problem.startswith("the log of the probe of pod on a1 cannot be read: ")
    assert "i/o timeout" in problem
    assert not report.passed


async def test_a_server_that_pauses_is_asked_again(cluster: FakeCluster) -> None:
    cluster.server.faults += [Fault("list", "pods", code=503), Fault("list", "pods", code=429)]
    assert (await cluster.test()).passed


async def test_nothing_that_passed_is_no_pass(cluster: FakeCluster) -> None:
    cluster.log = lambda _: "end\n"
    report = await cluster.test()
    assert not report.passed
    assert {"checks were not made" in problem for problem in report.problems} == {True}


async def test_an_interrupted_test_leaves_nothing(cluster: FakeCluster) -> None:
    cluster.status = lambda _: {"phase": "Pending"}
    task = asyncio.create_task(cluster.test(wait=3600.0))
    while cluster.server.requests["create", "pods"] < 3:
        await asyncio.sleep(0.01)
    assert await cluster.left() == [NAMESPACE]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await cluster.left() == []


async def test_a_namespace_that_cannot_be_removed_is_told(cluster: FakeCluster) -> None:
    cluster.server.forbid("delete", "namespaces")
    assert (await cluster.test()).passed
    (told,) = cluster.told
    assert told.startswith(f"namespace {NAMESPACE} was not removed: ")
    assert told.endswith(f"run kubectl delete namespace {NAMESPACE}")


async def test_what_killed_tests_left_is_removed(cluster: FakeCluster) -> None:
    system = leftovers.owner().rpartition("/")[0]
    for name, owner in (
        ("killed", f"{system}/999999999"),
        ("runs", leftovers.owner()),
        ("elsewhere", "other-boot/1/999999999"),
    ):
        body = manifests.namespace(name, owner, "alice@host (process 7)", True)
        await cluster.client.create(NAMESPACES, "", body)
    await cluster.client.create(NAMESPACES, "", {"metadata": {"name": "others"}})
    assert (await cluster.test()).passed
    assert await cluster.left() == ["elsewhere", "runs"]
    removed, *told = cluster.told
    assert removed == "removed namespace killed, which a test left that was killed"
    assert [text.partition(",")[0] for text in told] == [
        f"{name} is of a test by alice@host (process 7)" for name in ("elsewhere", "runs")
    ]
    assert await cluster.client.get(NAMESPACES, "", "others") is not None


def test_old_namespaces_are_left_over_by_the_servers_clock() -> None:
    def namespace(name: str, created: str, **more: str) -> Json:
        return {"metadata": {"name": name, "creationTimestamp": created, **more}}

    found = [
        namespace("old", "2026-01-01T09:59:59Z"),
        namespace("new", "2026-01-01T10:00:01Z"),
        namespace("going", "2026-01-01T09:00:00Z", deletionTimestamp="2026-01-01T11:00:00Z"),
        namespace("ours", "2026-01-01T12:00:00Z"),
    ]
    objects = msgspec.convert(found, list[leftovers.NamespaceObject])
    left = leftovers.sort(objects, objects[-1])
    assert left.dead == ("old",)
    assert [text.partition(" ")[0] for text in left.others] == ["new"]


@pytest.mark.parametrize(
    ("skip", "level"),
    [
        ((), "privileged"),
        (("host", "nodes", "api"), "privileged"),
        (("hostport",), "privileged"),
        (("host", "nodes", "api", "hostport"), "restricted"),
    ],
)
async def test_the_namespace_allows_no_more_than_the_probes_need(
    cluster: FakeCluster, skip: tuple[str, ...], level: str
) -> None:
    seen = []

    def of(pod: Json) -> Json:
        spec = pod["spec"]
        container = spec["containers"][0]
        uses_host = bool(spec.get("hostNetwork") or container.get("ports", [{}])[0].get("hostPort"))
        seen.append((uses_host, container["securityContext"]["capabilities"]["drop"]))
        return running("10.20.0.1") if "listener" in pod["metadata"]["name"] else {"phase": "Succeeded"}

    cluster.status = of
    bodies = []
    create = cluster.client.create

    async def recorded(resource: Any, namespace: str, body: Json, **more: Any) -> Json:
        bodies.append(body)
        return await create(resource, namespace, body, **more)

    cluster.client.create = recorded  # type: ignore[method-assign]
    await cluster.test(skip=frozenset(skip))
    assert bodies[0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == level
    assert any(uses_host for uses_host, _ in seen) is (level == "privileged")
    assert {tuple(dropped) for _, dropped in seen} == {("ALL",)}
