"""API discovery."""

from __future__ import annotations

import msgspec
import pytest

from romana_bus.lab.kubeapi import protobuf
from romana_bus.lab.kubeapi.discovery import document
from romana_bus.lab.kubeapi.resources import BUILT_IN, Resource
from romana_bus.lab.kubeapi.status import Refused
from tests.lab.apiserver import ApiServer
from tests.lab.client import asking

FROGS = Resource("pond.example", "v1beta1", "frogs", "Frog", namespaced=True)


async def test_groups_versions_and_resources() -> None:
    async with asking(ApiServer([*BUILT_IN, FROGS])) as client:
        assert (await client.ask("/version")).json["gitVersion"] == "v1.36.0"
        assert (await client.ask("/api")).json["versions"] == ["v1"]
        groups = (await client.ask("/apis")).json["groups"]
        assert [one["name"] for one in groups] == ["networking.k8s.io", "pond.example"]
        assert groups[1]["preferredVersion"] == {
            "groupVersion": "pond.example/v1beta1",
            "version": "v1beta1",
        }
        core = (await client.ask("/api/v1")).json
        assert (core["kind"], core["groupVersion"]) == ("APIResourceList", "v1")
        listed = {one["name"]: one for one in core["resources"]}
        assert list(listed) == [
            *("namespaces", "namespaces/status", "nodes", "nodes/status"),
            *("pods", "pods/binding", "pods/log", "pods/status"),
        ]
        assert listed["pods"]["shortNames"] == ["po"]
        assert (listed["pods/binding"]["kind"], listed["pods/binding"]["verbs"]) == (
            "Binding",
            ["create"],
        )
        assert listed["pods/log"]["verbs"] == ["get"]
        assert (await client.ask("/apis/nothing.example")).status == 404
        assert (await client.ask("/api/v2")).status == 404


def test_schemas_say_that_the_server_checks_fields() -> None:
    index = document("/openapi/v3", BUILT_IN)
    assert index is not None
    (url,) = [
        one["serverRelativeURL"]
        for place, one in msgspec.json.decode(index)["paths"].items()
        if place == "apis/networking.k8s.io/v1"
    ]
    found = document(url, BUILT_IN)
    assert found is not None
    (operations,) = msgspec.json.decode(found)["paths"].values()
    assert "fieldValidation" in [one["name"] for one in operations["patch"]["parameters"]]
    assert document("/openapi/v3/apis/apps/v1", BUILT_IN) is None


async def test_discovery_requires_authentication() -> None:
    async with asking(ApiServer(token="good")) as client:
        for path in ("/version", "/api", "/openapi/v3", "/api/v1"):
            assert (await client.ask(path)).status == 401


#: `kubectl create namespace web`, as kubectl 1.33 sends it.
NAMESPACE = (
    b'k8s\x00\n\x0f\n\x02v1\x12\tNamespace\x12\x1b\n\x13\n\x03web\x12\x00\x1a\x00"\x00*\x002\x008\x00B\x00'
    b'\x12\x00\x1a\x02\n\x00\x1a\x00"\x00'
)


def test_a_namespace_in_protobuf() -> None:
    assert protobuf.read(NAMESPACE) == {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "web"}}
    options = b"k8s\x00\n\x13\n\x02v1\x12\rDeleteOptions\x12\x07\x08\x1e\x12\x03\n\x01u"
    assert protobuf.read(options) == {
        "apiVersion": "v1",
        "kind": "DeleteOptions",
        "gracePeriodSeconds": 30,
        "preconditions": {"uid": "u"},
    }


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "it does not begin with k8s"),
        (NAMESPACE[:9], "it ends within a field"),
        (NAMESPACE[:5], "index out of range"),
        (
            NAMESPACE.replace(b"\x0f\n\x02v1\x12\tNamespace", b"\x09\n\x02v1\x12\x03Pod"),
            "a Pod is read as JSON or YAML only",
        ),
        (b"k8s\x00\x0d", "wire type 5"),
    ],
)
def test_bodies_in_protobuf_that_are_refused(body: bytes, said: str) -> None:
    with pytest.raises(Refused) as refused:
        protobuf.read(body)
    assert refused.value.code == 400
    assert said in str(refused.value)
