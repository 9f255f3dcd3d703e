"""What a client notices of a server that behaves as a cluster does: defaults, refusals, graceful deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from tests.lab.apiserver import ApiServer
from tests.lab.client import MERGE, asking

if TYPE_CHECKING:
    from tests.lab.client import Answer, Client

PODS = "/api/v1/namespaces/default/pods"
NAMESPACES = "/api/v1/namespaces"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"

UNMARKED = {"metadata": {"name": "a", "annotations": {"a": "b"}}}
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}


def cluster() -> ApiServer:
    return ApiServer(graceful=True, admission=True)


def pod(name: str = "a", **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "x"}], **spec}}


async def bind(client: Client, name: str, node: str = "n1", **metadata: str) -> Answer:
    body = {"metadata": metadata, "target": {"kind": "Node", "name": node}}
    return await client.ask(f"{PODS}/{name}/binding", "POST", body)


async def test_a_cluster_is_born_with_namespaces() -> None:
    async with asking(cluster()) as client:
        names = ["default", "kube-node-lease", "kube-public", "kube-system"]
        listed = await client.ask(NAMESPACES)
        assert listed.names == names
        default = listed.json["items"][0]
        assert default["status"] == {"phase": "Active"}
        assert default["metadata"]["labels"] == {"kubernetes.io/metadata.name": "default"}
        refused = await client.ask(f"{NAMESPACES}/default", "DELETE")
        assert refused.message == 'namespaces "default" is forbidden: this namespace may not be deleted'


async def test_defaults_are_filled_in() -> None:
    async with asking(cluster()) as client:
        created = (await client.ask(PODS, "POST", pod() | {"status": {"phase": "Running"}})).json
        assert created["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
        assert created["spec"]["schedulerName"] == "default-scheduler"
        assert created["spec"]["terminationGracePeriodSeconds"] == 30
        spec = {"egress": [{"ports": [{"port": 53}, {"port": 53, "protocol": "UDP"}]}]}
        policy = (await client.ask(POLICIES, "POST", {"metadata": {"name": "p"}, "spec": spec})).json
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        ports = policy["spec"]["egress"][0]["ports"]
        assert [port["protocol"] for port in ports] == ["TCP", "UDP"]


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"metadata": {"name": "a"}}, 422, 'Pod "a" is invalid: spec.containers: Required value'),
        (pod(containers=[]), 422, 'Pod "a" is invalid: spec.containers: Required value'),
        (
            pod("A"),
            422,
            'Pod "A" is invalid: metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain must '
            "consist of lower case alphanumeric characters, '-' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'example.com', regex used for validation is "
            r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
        ),
        (pod("a" * 254), 422, f'Pod "{"a" * 254}" is invalid: metadata.name: Invalid value: "{"a" * 254}": '),
        (pod() | {"kind": "Node"}, 400, 'Node in version "v1" cannot be handled as a Pod'),
        (
            pod() | {"apiVersion": "v2"},
            400,
            "the API version in the data (v2) does not match the expected API version (v1)",
        ),
        (
            {"metadata": {"name": "a", "labels": {"a": 1}}},
            400,
            'Pod in version "v1" cannot be handled as a Pod: json: Expected `str`, got `int` - at '
            "`$.metadata.labels`",
        ),
        (
            pod(containers="c"),
            400,
            'Pod in version "v1" cannot be handled as a Pod: json: Expected `array | null`, got `str` - at '
            "`$.spec.containers`",
        ),
        (
            pod() | {"metadata": {"name": "a", "resourceVersion": "1"}},
            400,
            "resourceVersion should not be set on objects to be created",
        ),
        (pod() | {"metadata": {"name": "a", "creationTimestamp": 1}}, 400, "got `int`"),
        ({"metadata": {"name": "a"}, "spec": []}, 400, "Expected `object | null`, got `array`"),
    ],
)
async def test_pods_that_are_refused(body: dict[str, Any], code: int, said: str) -> None:
    async with asking(cluster()) as client:
        answer = await client.ask(PODS, "POST", body)
        assert answer.status == code
        assert said in answer.message
        assert (await client.ask(PODS)).names == []


async def test_names_are_generated() -> None:
    async with asking(cluster()) as client:
        body = pod() | {"metadata": {"generateName": "web-"}}
        names = {(await client.ask(PODS, "POST", body)).json["metadata"]["name"] for _ in range(3)}
        assert len(names) == 3
        assert all(name.startswith("web-") and len(name) == 9 for name in names)


async def test_a_dry_run_answers_and_writes_nothing() -> None:
    async with asking(cluster()) as client:
        tried = await client.ask(f"{PODS}?dryRun=All", "POST", pod())
        assert (tried.status, tried.json["spec"]["restartPolicy"]) == (201, "Always")
        assert (await client.ask(PODS)).names == []
        await client.ask(PODS, "POST", pod())
        labels = {"metadata": {"labels": {"a": "b"}}}
        patched = await client.ask(f"{PODS}/a?dryRun=All", "PATCH", labels, MERGE)
        assert patched.json["metadata"]["labels"] == {"a": "b"}
        assert (await client.ask(f"{PODS}/a", "DELETE", {"dryRun": ["All"]})).status == 200
        kept = (await client.ask(f"{PODS}/a")).json["metadata"]
        assert "labels" not in kept


async def test_the_status_and_the_rest_are_written_apart() -> None:
    async with asking(cluster()) as client:
        await client.ask(PODS, "POST", pod())
        ready = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        await client.ask(f"{PODS}/a/status", "PATCH", ready, STRATEGIC)
        more = {"status": {"conditions": [{"type": "Initialized", "status": "True"}]}}
        both = (await client.ask(f"{PODS}/a/status", "PATCH", more, STRATEGIC)).json
        assert [one["type"] for one in both["status"]["conditions"]] == ["Ready", "Initialized"]
        body = pod() | {"status": {"phase": "Failed"}}
        replaced = await client.ask(f"{PODS}/a", "PUT", body)
        assert replaced.json["status"] == both["status"]
        moved = await client.ask(f"{PODS}/a", "PATCH", {"spec": {"nodeName": "n"}}, MERGE)
        assert (moved.status, moved.json["details"]["causes"][0]["field"]) == (422, "spec")
        image = {"spec": {"containers": [{"name": "c", "image": "y"}]}}
        assert (await client.ask(f"{PODS}/a", "PATCH", image, STRATEGIC)).status == 200


async def test_binding_a_pod() -> None:
    async with asking(cluster()) as client:
        uid = (await client.ask(PODS, "POST", pod())).json["metadata"]["uid"]
        assert (await bind(client, "a", uid="other")).status == 409
        assert (await bind(client, "a", node="")).status == 422
        bound = await bind(client, "a", uid=uid)
        assert (bound.status, bound.json["status"]) == (201, "Success")
        there = (await client.ask(f"{PODS}/a")).json
        assert there["spec"]["nodeName"] == "n1"
        assert [(one["type"], one["status"]) for one in there["status"]["conditions"]] == [
            ("PodScheduled", "True")
        ]
        again = await bind(client, "a", node="n2")
        assert (again.status, again.message) == (
            409,
            'Operation cannot be fulfilled on pods/binding "a": pod a is already assigned to node "n1"',
        )
        assert (await bind(client, "b")).message == 'pods "b" not found'


async def test_deleted_pod_on_a_node_waits_for_its_kubelet() -> None:
    path = "/api/v1/pods?watch=1&resourceVersion=1"
    async with asking(cluster()) as client, client.watch(path) as watch:
        await client.ask(PODS, "POST", pod())
        await bind(client, "a")
        marked = (await client.ask(f"{PODS}/a", "DELETE")).json["metadata"]
        assert marked["deletionGracePeriodSeconds"] == 30
        assert marked["deletionTimestamp"] > marked["creationTimestamp"]
        shorter = (await client.ask(f"{PODS}/a?gracePeriodSeconds=5", "DELETE")).json["metadata"]
        assert shorter["deletionGracePeriodSeconds"] == 5
        longer = (await client.ask(f"{PODS}/a", "DELETE", {"gracePeriodSeconds": 60})).json["metadata"]
        assert longer == shorter
        late = await client.ask(f"{PODS}/a", "PUT", (await client.ask(f"{PODS}/a")).json | UNMARKED)
        assert late.json["metadata"]["deletionTimestamp"] == shorter["deletionTimestamp"]
        gone = await client.ask(f"{PODS}/a", "DELETE", {"gracePeriodSeconds": 0})
        assert gone.status == 200
        assert [(await watch.event())[0] for _ in range(6)] == [
            *("ADDED", "MODIFIED", "MODIFIED", "MODIFIED", "MODIFIED", "DELETED")
        ]
        assert (await client.ask(f"{PODS}/a")).status == 404


@pytest.mark.parametrize("phase", ["", "Succeeded", "Failed"])
async def test_unscheduled_and_finished_pods_are_deleted_at_once(phase: str) -> None:
    async with asking(cluster()) as client:
        await client.ask(PODS, "POST", pod())
        if phase:
            await bind(client, "a")
            await client.ask(f"{PODS}/a/status", "PATCH", {"status": {"phase": phase}}, MERGE)
        await client.ask(f"{PODS}/a", "DELETE")
        assert (await client.ask(f"{PODS}/a")).status == 404


async def test_delete_preconditions() -> None:
    async with asking(cluster()) as client:
        uid = (await client.ask(PODS, "POST", pod())).json["metadata"]["uid"]
        other = await client.ask(f"{PODS}/a", "DELETE", {"preconditions": {"uid": "x"}})
        assert (other.status, other.json["reason"]) == (409, "Conflict")
        assert "the UID in the precondition (x) does not match the UID in record" in other.message
        assert (await client.ask(f"{PODS}/a?gracePeriodSeconds=x", "DELETE")).status == 400
        assert (await client.ask(f"{PODS}/a", "DELETE", {"preconditions": {"uid": uid}})).status == 200


async def test_a_namespace_waits_for_its_pods() -> None:
    async with (
        asking(cluster()) as client,
        client.watch(f"{NAMESPACES}?watch=1&resourceVersion=5") as watch,
    ):
        await client.ask(NAMESPACES, "POST", {"metadata": {"name": "web"}})
        pods = f"{NAMESPACES}/web/pods"
        for name in ("a", "b"):
            await client.ask(pods, "POST", pod(name))
        await client.ask(f"{pods}/a/binding", "POST", {"target": {"name": "n1"}})
        ending = (await client.ask(f"{NAMESPACES}/web", "DELETE")).json
        assert ending["status"]["phase"] == "Terminating"
        assert (await client.ask(pods)).names == ["a"]
        late = await client.ask(pods, "POST", pod("c"))
        assert (late.status, late.message) == (
            403,
            'pods "c" is forbidden: unable to create new content in namespace web because it is being '
            "terminated",
        )
        await client.ask(f"{pods}/a?gracePeriodSeconds=0", "DELETE")
        assert [(await watch.event())[:2] for _ in range(3)] == [
            ("ADDED", "web"),
            ("MODIFIED", "web"),
            ("DELETED", "web"),
        ]
        missing = await client.ask(pods, "POST", pod("c"))
        assert (missing.status, missing.message) == (404, 'namespaces "web" not found')


async def test_without_grace_a_namespace_takes_all_along_at_once() -> None:
    async with asking(ApiServer()) as client:
        await client.ask(NAMESPACES, "POST", {"metadata": {"name": "default"}})
        await client.ask(PODS, "POST", {"metadata": {"name": "a"}, "spec": {"nodeName": "n"}})
        await client.ask(POLICIES, "POST", {"metadata": {"name": "p"}})
        await client.ask(f"{NAMESPACES}/default", "DELETE")
        for path in (PODS, POLICIES, NAMESPACES):
            assert (await client.ask(path)).names == []


async def test_applying_creates_or_merges() -> None:
    kind = {"Content-Type": "application/apply-patch+yaml"}
    async with asking(cluster()) as client:
        first = await client.ask(f"{PODS}/a?fieldManager=x", "PATCH", pod(), kind)
        assert first.status == 201
        second = pod() | {"metadata": {"name": "a", "labels": {"l": "m"}}}
        merged = await client.ask(f"{PODS}/a?fieldManager=x", "PATCH", second, kind)
        assert (merged.status, merged.json["metadata"]["labels"]) == (200, {"l": "m"})
        assert merged.json["metadata"]["uid"] == first.json["metadata"]["uid"]


async def test_server_listens_on_the_given_address() -> None:
    async with asking(ApiServer(host="127.0.0.2")) as client:
        assert (await client.ask("/version")).json["minor"] == "36"


async def test_invalid_bodies_change_nothing() -> None:
    server = cluster()
    async with asking(server) as client:
        await client.ask(PODS, "POST", pod())
        version = server.store.version
        for method, path, body in (
            ("POST", f"{PODS}/a/binding", {"target": "n1"}),
            ("POST", f"{PODS}/a/binding", {"target": {"name": "n1"}, "metadata": ["x"]}),
            ("DELETE", f"{PODS}/a", {"preconditions": "x"}),
            ("PATCH", f"{PODS}/a/status", {"status": "Running"}),
            ("PATCH", f"{PODS}/a", {"metadata": {"labels": ["x"]}}),
        ):
            answer = await client.ask(path, method, body, MERGE)
            assert (answer.status, msgspec.json.decode(answer.body)["kind"]) == (400, "Status")
        assert server.store.version == version
