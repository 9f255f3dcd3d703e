"""What a client notices when it writes to the small API server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from romana_bus.lab.kubeapi.write.patches import merge
from tests.lab.apiserver import ApiServer
from tests.lab.client import MERGE, asking, pod

if TYPE_CHECKING:
    from tests.lab.client import Client

PODS = "/api/v1/namespaces/web/pods"
NODES = "/api/v1/nodes"
POLICIES = "/apis/networking.k8s.io/v1/namespaces/web/networkpolicies"
WATCH = "/api/v1/pods?watch=1&resourceVersion=1"


async def versions(client: Client) -> list[str]:
    items = (await client.ask("/api/v1/pods")).json["items"]
    return [item["metadata"]["resourceVersion"] for item in items]


async def test_what_is_created_is_completed_and_in_order() -> None:
    async with asking(ApiServer()) as client, client.watch(WATCH) as watch:
        sent = {"spec": {"a": "<&>"}, "metadata": {"labels": {"x": "y"}, "name": "a"}, "apiVersion": "v1"}
        answer = await client.ask(PODS, "POST", sent)
        assert answer.status == 201
        assert re.fullmatch(
            rb'\{"kind":"Pod","apiVersion":"v1","metadata":\{"name":"a","namespace":"web",'
            rb'"uid":"[0-9a-f-]{36}","resourceVersion":"2",'
            rb'"creationTimestamp":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ","labels":\{"x":"y"\}\},'
            rb'"spec":\{"a":"\\u003c\\u0026\\u003e"\}\}\n',  # as Go writes them
            answer.body,
        )
        assert await watch.line() == b'{"type":"ADDED","object":' + answer.body[:-1] + b"}\n"
        assert (await client.ask(f"{PODS}/a")).body == answer.body


async def test_given_fields_are_kept() -> None:
    async with asking(ApiServer()) as client:
        given = {"name": "a", "uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z", "future": 1}
        answer = await client.ask(NODES, "POST", {"metadata": given, "status": {"phase": "x"}})
        assert answer.json["metadata"] == given | {"resourceVersion": "2"}
        assert answer.json["status"] == {"phase": "x"}


async def test_invalid_creates() -> None:
    async with asking(ApiServer()) as client:
        await client.ask(PODS, "POST", pod("a"))
        again = await client.ask(PODS, "POST", pod("a"))
        assert (again.status, again.json["reason"]) == (409, "AlreadyExists")
        assert again.message == 'pods "a" already exists'
        assert again.json["details"] == {"name": "a", "kind": "pods"}
        nameless = await client.ask(POLICIES, "POST", {"metadata": {}})
        assert (nameless.status, nameless.json["details"]["causes"][0]["field"]) == (422, "metadata.name")
        assert nameless.message.startswith('NetworkPolicy.networking.k8s.io "" is invalid: metadata.name')
        elsewhere = await client.ask(PODS, "POST", pod("b", "other"))
        assert (elsewhere.status, elsewhere.json["reason"]) == (400, "BadRequest")
        for nonsense in (["a"], {"metadata": "a"}):
            assert (await client.ask(PODS, "POST", nonsense)).status == 400
        assert await versions(client) == ["2"]


async def test_a_replacement_needs_the_latest_version_or_none() -> None:
    async with asking(ApiServer()) as client, client.watch(WATCH) as watch:
        first = (await client.ask(PODS, "POST", pod("a"))).json
        second = await client.ask(f"{PODS}/a", "PUT", first | {"spec": {"nodeName": "n"}})
        assert second.status == 200
        assert second.json["metadata"] == first["metadata"] | {"resourceVersion": "3"}
        late = await client.ask(f"{PODS}/a", "PUT", first)
        assert (late.status, late.json["reason"]) == (409, "Conflict")
        assert late.message == (
            'Operation cannot be fulfilled on pods "a": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
        blind = await client.ask(f"{PODS}/a", "PUT", pod("a"))
        assert "spec" not in blind.json
        assert blind.json["metadata"]["uid"] == first["metadata"]["uid"]
        assert [await watch.event() for _ in range(3)] == [
            ("ADDED", "a", "2"),
            ("MODIFIED", "a", "3"),
            ("MODIFIED", "a", "4"),
        ]
        assert (await client.ask(f"{PODS}/a", "PUT", pod("b"))).status == 400
        assert (await client.ask(f"{PODS}/b", "PUT", pod("b"))).message == 'pods "b" not found'


@pytest.mark.parametrize("kind", ["application/merge-patch+json", "application/strategic-merge-patch+json"])
async def test_a_patch_merges(kind: str) -> None:
    async with asking(ApiServer()) as client:
        await client.ask(NODES, "POST", {"metadata": {"name": "n", "labels": {"a": "1", "b": "2"}}})
        patch = {"metadata": {"labels": {"a": None, "c": "3"}}, "spec": {"x": [1]}}
        answer = await client.ask(f"{NODES}/n", "PATCH", patch, {"Content-Type": kind})
        assert answer.json["metadata"]["labels"] == {"b": "2", "c": "3"}
        assert answer.json["spec"] == {"x": [1]}
        assert answer.json["metadata"]["resourceVersion"] == "3"


async def test_a_patch_that_changes_nothing_makes_no_event() -> None:
    async with asking(ApiServer()) as client, client.watch(WATCH) as watch:
        await client.ask(PODS, "POST", pod("a", spec={"x": 1}))
        same = await client.ask(f"{PODS}/a", "PATCH", {"spec": {"x": 1}}, MERGE)
        assert (same.status, same.json["metadata"]["resourceVersion"]) == (200, "2")
        await client.ask(f"{PODS}/a", "PATCH", {"spec": {"x": 2}}, MERGE)
        assert [(await watch.event())[2] for _ in range(2)] == ["2", "3"]


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_the_status_is_written_apart(method: str) -> None:
    async with asking(ApiServer()) as client:
        await client.ask(PODS, "POST", pod("a", spec={"x": 1}, status={"phase": "Pending"}))
        sent = pod("a", spec={"x": 2}, status={"phase": "Running"})
        answer = await client.ask(f"{PODS}/a/status", method, sent, MERGE)
        assert (answer.json["spec"], answer.json["status"]) == ({"x": 1}, {"phase": "Running"})
        namespace = {"metadata": {"name": "web"}, "status": {"phase": "Active"}}
        await client.ask("/api/v1/namespaces", "POST", namespace)
        ends = {"status": {"phase": "Terminating"}}
        ended = await client.ask("/api/v1/namespaces/web/status", "PATCH", ends, MERGE)
        assert ended.json["status"] == ends["status"]


async def test_patches_that_are_refused() -> None:
    async with asking(ApiServer()) as client:
        await client.ask(PODS, "POST", pod("a"))
        stale = {"metadata": {"resourceVersion": "1"}, "spec": {}}
        assert (await client.ask(f"{PODS}/a", "PATCH", stale, MERGE)).status == 409
        assert (await client.ask(f"{PODS}/b", "PATCH", {}, MERGE)).status == 404
        other = {"Content-Type": "application/json"}
        unknown = await client.ask(f"{PODS}/a", "PATCH", [], other)
        assert unknown.json["reason"] == "UnsupportedMediaType"
        assert "application/json-patch+json, application/merge-patch+json" in unknown.message
        assert await versions(client) == ["2"]


async def test_a_deletion_shows_the_last_state_with_a_version_of_its_own() -> None:
    async with asking(ApiServer()) as client, client.watch(WATCH) as watch:
        created = (await client.ask(PODS, "POST", pod("a", spec={"x": "1"}))).body
        deleted = await client.ask(f"{PODS}/a", "DELETE")
        assert deleted.status == 200
        assert deleted.body == created.replace(b'"resourceVersion":"2"', b'"resourceVersion":"3"')
        assert await watch.event() == ("ADDED", "a", "2")
        assert await watch.line() == b'{"type":"DELETED","object":' + deleted.body[:-1] + b"}\n"
        assert (await client.ask(f"{PODS}/a")).status == 404
        assert (await client.ask(f"{PODS}/a", "DELETE")).status == 404
        assert (await client.ask(PODS, "POST", pod("a"))).json["metadata"]["resourceVersion"] == "4"


async def test_deleting_what_is_not_shown_answers_with_a_status() -> None:
    async with asking(ApiServer()) as client:
        await client.ask(POLICIES, "POST", {"metadata": {"name": "p", "uid": "u"}})
        answer = await client.ask(f"{POLICIES}/p", "DELETE")
        assert answer.body == (
            b'{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":'
            b'{"name":"p","group":"networking.k8s.io","kind":"networkpolicies","uid":"u"}}\n'
        )


@pytest.mark.parametrize(
    ("target", "patch", "merged"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merging_as_the_rfc_has_it(target: object, patch: object, merged: object) -> None:
    """RFC 7386, appendix A."""
    assert merge(target, patch) == merged
