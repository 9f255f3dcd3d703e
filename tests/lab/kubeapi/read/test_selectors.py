"""Which objects a selector means, and what a client of lists and watches notices of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from romana_bus.lab.kubeapi.read.selectors import read_fields, read_labels
from romana_bus.lab.kubeapi.resources import NETWORK_POLICIES, NODES, PODS
from romana_bus.lab.kubeapi.status import Refused
from tests.lab.apiserver import ApiServer
from tests.lab.client import MERGE, asking, pod

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource
    from tests.lab.client import Client

WEB_PODS = "/api/v1/namespaces/web/pods"


@pytest.mark.parametrize(
    ("selector", "meant"),
    [
        ("", "abcd"),
        ("app=web", "ab"),
        ("app == web , tier = front", "a"),
        ("app!=web", "cd"),
        ("app", "abc"),
        ("!app", "d"),
        ("app in (web, db)", "abc"),
        ("app notin (web)", "cd"),
        ("app in (web),tier notin (front)", "b"),
        ("tier=", "c"),
        ("size>3", "b"),
        ("size < 4", "a"),
        ("example.com/x.y_z=1", ""),
    ],
)
def test_labels(selector: str, meant: str) -> None:
    labels = {
        "a": {"app": "web", "tier": "front", "size": "3"},
        "b": {"app": "web", "tier": "back", "size": "4"},
        "c": {"app": "db", "tier": "", "size": "large"},
        "d": {},
    }
    wanted = read_labels(selector)
    found = [name for name, has in labels.items() if all(one.met(has.get(one.key)) for one in wanted)]
    assert "".join(found) == meant


@pytest.mark.parametrize(
    ("selector", "wrong"),
    [
        *((text, text) for text in ("a b", "a in b", "a in (b", "=a", "a=b=c", "!a=b", "a in (b))", "(a)")),
        ("a,", ""),
        ("a,b c", "b c"),
    ],
)
def test_labels_that_cannot_be_read(selector: str, wrong: str) -> None:
    with pytest.raises(Refused) as refused:
        read_labels(selector)
    message = msgspec.json.decode(refused.value.body)["message"]
    assert (refused.value.code, message) == (400, f"unable to parse requirement: '{wrong}'")


@pytest.mark.parametrize(
    ("resource", "field", "said"),
    [
        (PODS, "spec.foo=1", "field label not supported: spec.foo"),
        (NODES, "status.phase=1", "field label not supported: status.phase"),
        (NODES, "metadata.namespace=1", "field label not supported: metadata.namespace"),
        (NETWORK_POLICIES, "spec.x=1", "field label not supported: spec.x"),
        (PODS, "spec.nodeName", "invalid selector: 'spec.nodeName'; can't understand 'spec.nodeName'"),
    ],
)
def test_fields_that_are_not_served(resource: Resource, field: str, said: str) -> None:
    with pytest.raises(Refused) as refused:
        read_fields(field, resource)
    assert (refused.value.code, msgspec.json.decode(refused.value.body)["message"]) == (400, said)


async def fill(client: Client) -> None:
    for name, node, phase in (("a", "n1", "Running"), ("b", "n2", "Pending"), ("c", "", "Pending")):
        body = pod(name, spec={"nodeName": node} if node else {}, status={"phase": phase})
        body["metadata"]["labels"] = {"app": name}  # type: ignore[index]
        await client.ask(WEB_PODS, "POST", body)
    for name, cordoned in (("n1", True), ("n2", False)):
        spec = {"unschedulable": True} if cordoned else {}
        await client.ask("/api/v1/nodes", "POST", {"metadata": {"name": name}, "spec": spec})


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("/api/v1/pods?labelSelector=app%20in%20(a,b)", ["a", "b"]),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3Dn1", ["a"]),
        ("/api/v1/pods?fieldSelector=spec.nodeName%3D", ["c"]),
        ("/api/v1/pods?fieldSelector=spec.nodeName!%3Dn1,status.phase%3DPending", ["b", "c"]),
        ("/api/v1/pods?fieldSelector=status.phase%3DPending&labelSelector=app!%3Dc", ["b"]),
        ("/api/v1/pods?fieldSelector=metadata.namespace%3Dweb,metadata.name%3Db", ["b"]),
        ("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dtrue", ["n1"]),
        ("/api/v1/nodes?fieldSelector=spec.unschedulable%3Dfalse", ["n2"]),
    ],
)
async def test_lists(path: str, meant: list[str]) -> None:
    async with asking(ApiServer()) as client:
        await fill(client)
        assert (await client.ask(path)).names == meant


async def test_selected_pages_have_no_remaining_count() -> None:
    async with asking(ApiServer()) as client:
        await fill(client)
        path = "/api/v1/pods?labelSelector=app!%3Db&limit=1"
        first = await client.ask(path)
        assert first.names == ["a"]
        assert "remainingItemCount" not in first.json["metadata"]
        rest = await client.ask(f"{path}&continue={first.json['metadata']['continue']}")
        assert rest.names == ["c"]
        assert "continue" not in rest.json["metadata"]


@pytest.mark.parametrize("start", ["", "&resourceVersion=1"])
async def test_watch_shows_objects_that_start_and_stop_matching(start: str) -> None:
    path = f"/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn1{start}"
    async with asking(ApiServer()) as client:
        await client.ask(WEB_PODS, "POST", pod("other", spec={"nodeName": "n2"}))

        async def patch(spec: dict[str, Any]) -> None:
            await client.ask(f"{WEB_PODS}/a", "PATCH", {"spec": spec}, MERGE)

        async with client.watch(path) as watch:
            await client.ask(WEB_PODS, "POST", pod("a"))  # 3
            await patch({"nodeName": "n1"})  # 4
            await patch({"x": 1})  # 5
            await patch({"nodeName": "n2"})  # 6
            await patch({"nodeName": "n1"})  # 7
            await client.ask(f"{WEB_PODS}/a", "DELETE")  # 8
            await client.ask(f"{WEB_PODS}/other", "DELETE")
            assert [await watch.event() for _ in range(2)] == [
                ("ADDED", "a", "4"),
                ("MODIFIED", "a", "5"),
            ]
            left = msgspec.json.decode(await watch.line())
            assert left["type"] == "DELETED"  # as it was while it was meant
            assert left["object"]["spec"] == {"nodeName": "n1", "x": 1}
            assert left["object"]["metadata"]["resourceVersion"] == "6"
            assert [await watch.event() for _ in range(2)] == [("ADDED", "a", "7"), ("DELETED", "a", "8")]
