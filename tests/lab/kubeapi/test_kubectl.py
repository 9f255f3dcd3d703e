"""kubectl commands against the small API server."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.lab.apiserver import ApiServer
from tests.lab.client import Client, until
from tests.lab.kubeapi.kubectl import Kubectl, columns, each_kubectl, needs_kubectl

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [needs_kubectl, each_kubectl]

POD = """
apiVersion: v1
kind: Pod
metadata: {name: a, labels: {app: x}}
spec:
  containers: [{name: c, image: "nginx:1", ports: [{containerPort: 80}]}]
"""
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: x}}}
"""
NODE = """
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {topology.kubernetes.io/zone: zone-a, node-role.kubernetes.io/worker: ""}}
status:
  addresses: [{type: InternalIP, address: 10.0.0.1}]
  conditions: [{type: Ready, status: "True"}]
  nodeInfo:
    {kubeletVersion: v1.36.0, osImage: Debian, kernelVersion: "6.18", containerRuntimeVersion: "lab://1",
     architecture: amd64, operatingSystem: linux, bootID: b, kubeProxyVersion: v,
     machineID: m, systemUUID: s}
"""


@contextlib.asynccontextmanager
async def cluster(path: str, home: Path) -> AsyncIterator[tuple[ApiServer, Kubectl, Client]]:
    """With the namespace web."""
    async with ApiServer(graceful=True, admission=True) as server, Client(server.url) as client:
        kubectl = Kubectl(path, server, home)
        assert await kubectl("create namespace web") == "namespace/web created\n"
        yield server, kubectl, client


async def bind(client: Client, pod: str) -> None:
    body = {"target": {"kind": "Node", "name": "n1"}}
    assert (await client.ask(f"/api/v1/namespaces/web/pods/{pod}/binding", "POST", body)).status == 201


async def test_apply_get_and_delete(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (_, kubectl, client):
        manifests = f"{POD}---{POLICY}---{NODE}"
        created = await kubectl("apply -f -", manifests)
        assert sorted(created.splitlines()) == [
            "networkpolicy.networking.k8s.io/deny created",
            "node/n1 created",
            "pod/a created",
        ]
        again = await kubectl("apply -f -", manifests)
        assert all(line.endswith("unchanged") for line in again.splitlines())
        assert columns(await kubectl("get pods")) == [
            ["NAME", "READY", "STATUS", "RESTARTS", "AGE"],
            ["a", "0/1", "Pending", "0", "AGE"],
        ]
        await bind(client, "a")
        assert columns(await kubectl("get pods -A -o wide"))[1] == [
            *("web", "a", "0/1", "Pending", "0", "AGE", "<none>", "n1", "<none>", "<none>")
        ]
        head, row = columns(await kubectl("get nodes -o wide"))
        assert head[:5] == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
        assert head[5:8] == ["INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE"]
        assert head[8:] == ["KERNEL-VERSION", "CONTAINER-RUNTIME"]
        assert row[:5] == ["n1", "Ready", "worker", "AGE", "v1.36.0"]
        assert row[5:] == ["10.0.0.1", "<none>", "Debian", "6.18", "lab://1"]
        assert columns(await kubectl("get netpol")) == [
            ["NAME", "POD-SELECTOR", "AGE"],
            ["deny", "app=x", "AGE"],
        ]
        assert columns(await kubectl("get ns web default")) == [
            ["NAME", "STATUS", "AGE"],
            ["web", "Active", "AGE"],
            ["default", "Active", "AGE"],
        ]
        assert "deleted" in await kubectl("delete networkpolicy deny")
        assert "deleted" in await kubectl("delete node n1")
        assert "not found" in await kubectl.fails("get node n1")


async def test_selectors_and_output_forms(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (_, kubectl, client):
        for name in ("a", "b"):
            await kubectl("apply -f -", POD.replace("name: a", f"name: {name}"))
        await bind(client, "a")
        assert await kubectl("label pod a tier=db") == "pod/a labeled\n"
        assert await kubectl("annotate pod a why=because") in ("pod/a annotated\n", "pod/a annotate\n")
        for chosen in ("-l tier=db", "-l app,tier!=web,tier", "--field-selector spec.nodeName=n1"):
            assert await kubectl(f"get pods -o name {chosen}") == "pod/a\n"
        assert await kubectl("get pods -o name --field-selector spec.nodeName=") == "pod/b\n"
        assert "field label not supported: spec.x" in await kubectl.fails("get po --field-selector spec.x=1")
        assert await kubectl("get pod a -o jsonpath={.metadata.annotations.why}") == "because"
        assert "\n  nodeName: n1\n" in await kubectl("get pod a -o yaml")
        assert '"kind": "Pod"' in await kubectl("get pod a -o json")
        described = await kubectl("describe pod a")
        assert "80/TCP" in described
        assert "n1/" in described
        assert "web" in await kubectl("describe namespace web")
        assert await kubectl("get pods -n default") == ""


async def test_patches_and_replacements(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (_, kubectl, _client):
        await kubectl("apply -f -", POD)

        async def image() -> str:
            return await kubectl("get pod a -o jsonpath={.spec.containers[*].image}")

        strategic = '{"spec":{"containers":[{"name":"c","image":"nginx:2"}]}}'
        assert await kubectl(f"patch pod a -p {strategic}") == "pod/a patched\n"
        assert await image() == "nginx:2"
        operations = '[{"op":"replace","path":"/spec/containers/0/image","value":"nginx:3"}]'
        await kubectl(f"patch pod a --type=json -p {operations}")
        assert await image() == "nginx:3"
        assert await kubectl('patch pod a --type=merge -p {"metadata":{"labels":{"app":null}}}')
        assert await kubectl("get pods -l app=x -o name") == ""
        assert "configured" in await kubectl("apply -f -", POD.replace("nginx:1", "nginx:4"))
        assert await image() == "nginx:4"
        assert "replaced" in await kubectl("replace -f -", POD.replace("nginx:1", "nginx:5"))
        assert await image() == "nginx:5"
        moved = await kubectl.fails('patch pod a -p {"spec":{"nodeName":"n2"}}')
        assert "pod updates may not change fields other than" in moved
        applied = await kubectl("apply --server-side -f -", POD.replace("name: a", "name: ssa"))
        assert applied == "pod/ssa serverside-applied\n"
        await kubectl("apply -f -", NODE)
        assert await kubectl("cordon n1") == "node/n1 cordoned\n"
        assert columns(await kubectl("get node n1"))[1][1] == "Ready,SchedulingDisabled"


async def test_pod_on_a_node_is_terminating_until_its_kubelet_confirms(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (server, kubectl, client):
        for name in ("a", "b", "c"):
            await kubectl("apply -f -", POD.replace("name: a", f"name: {name}"))
        await bind(client, "a")
        await bind(client, "b")
        assert "deleted" in await kubectl("delete pod c")  # it is on no node: gone at once
        await kubectl("delete pod a b --wait=false")
        assert {row[2] for row in columns(await kubectl("get pods"))[1:]} == {"Terminating"}
        async with kubectl.started("delete", "pod", "a") as waiting:
            await until(lambda: server.watches("pods") == 1)
            last = {"gracePeriodSeconds": 0}
            await client.ask("/api/v1/namespaces/web/pods/a", "DELETE", last)
            assert await waiting.wait() == 0
        assert "force deleted" in await kubectl("delete pod b --force --grace-period=0")
        assert await kubectl("get pods -o name") == ""


async def test_a_namespace_goes_with_what_is_in_it(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (server, kubectl, client):
        await kubectl("apply -f -", f"{POD}---{POLICY}")
        await bind(client, "a")
        async with kubectl.started("delete", "namespace", "web") as waiting:
            await until(lambda: server.watches("namespaces") == 1)
            assert columns(await kubectl("get ns web"))[1][1] == "Terminating"
            assert "because it is being terminated" in await kubectl.fails("run late --image=x")
            await client.ask("/api/v1/namespaces/web/pods/a?gracePeriodSeconds=0", "DELETE")
            assert await waiting.wait() == 0
        assert "not found" in await kubectl.fails("get ns web")
        assert "may not be deleted" in await kubectl.fails("delete ns default")


async def test_get_watch_prints_what_changes(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (server, kubectl, client):
        await kubectl("apply -f -", POD)
        async with kubectl.started("get", "pods", "-w", "-l", "app=x") as watching:
            assert watching.stdout is not None
            await until(lambda: server.watches("pods") == 1)
            runs = {"ready": True, "state": {"running": {}}}
            status = {"status": {"phase": "Running", "containerStatuses": [runs]}}
            merge = {"Content-Type": "application/merge-patch+json"}
            await client.ask("/api/v1/namespaces/web/pods/a/status", "PATCH", status, merge)
            lines = [(await watching.stdout.readline()).decode() for _ in range(3)]
        assert columns("".join(lines)) == [
            ["NAME", "READY", "STATUS", "RESTARTS", "AGE"],
            ["a", "0/1", "Pending", "0", "AGE"],
            ["a", "1/1", "Running", "0", "AGE"],
        ]


async def test_wait_for_a_condition(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (server, kubectl, client):
        await kubectl("apply -f -", POD)
        async with kubectl.started("wait", "--for=condition=Ready", "pod/a") as waiting:
            await until(lambda: server.watches("pods") == 1)
            ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
            kind = {"Content-Type": "application/strategic-merge-patch+json"}
            await client.ask("/api/v1/namespaces/web/pods/a/status", "PATCH", ready, kind)
            assert await waiting.wait() == 0


async def test_errors_have_the_text_of_kubernetes(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (_, kubectl, _client):
        assert 'namespaces "no" not found' in await kubectl.fails("run a --image=x -n no")
        assert "a lowercase RFC 1123 subdomain must consist of" in await kubectl.fails("run A_ --image=x")
        empty = POD.replace('[{name: c, image: "nginx:1", ports: [{containerPort: 80}]}]', "[]")
        assert "spec.containers: Required value" in await kubectl.fails("create -f -", empty)
        await kubectl("create -f -", POD)
        assert 'pods "a" already exists' in await kubectl.fails("create -f -", POD)
        assert 'pods "b" not found' in await kubectl.fails("get pod b")
        assert "the server doesn't have a resource type" in await kubectl.fails("get deployments")


async def test_dry_run(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (_, kubectl, _client):
        assert "pod/a created (server dry run)" in await kubectl("create --dry-run=server -f -", POD)
        assert await kubectl("get pods -o name") == ""
        await kubectl("apply -f -", POD)
        assert await kubectl("diff -f -", POD) == ""
        changed = await kubectl.ask("diff", "-f", "-", stdin=POD.replace("nginx:1", "nginx:2"))
        assert changed.code == 1
        assert "+  - image: nginx:2" in changed.out


async def test_api_resources(path: str, tmp_path: Path) -> None:
    async with cluster(path, tmp_path) as (_, kubectl, _client):
        listed = [row.split() for row in (await kubectl("api-resources --no-headers")).splitlines()]
        assert [(row[0], row[1], row[-1]) for row in listed] == [
            ("namespaces", "ns", "Namespace"),
            ("nodes", "no", "Node"),
            ("pods", "po", "Pod"),
            ("networkpolicies", "netpol", "NetworkPolicy"),
        ]
        assert "v1.36" in (await kubectl.ask("version")).out
