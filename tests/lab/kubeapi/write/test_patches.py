"""What patches make of an object: strategic ones as Kubernetes documents them, and RFC 6902."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from romana_bus.lab.kubeapi.resources import NETWORK_POLICIES, NODES, PODS
from romana_bus.lab.kubeapi.status import Refused
from romana_bus.lab.kubeapi.write.patches import APPLY, json_patch, patched, read_object
from romana_bus.lab.kubeapi.write.strategic import strategic

Json = dict[str, Any]


def containers(*items: Json) -> Json:
    return {"spec": {"containers": list(items)}}


NGINX, SIDECAR = {"name": "nginx", "image": "nginx:1"}, {"name": "sidecar", "image": "log:1"}


@pytest.mark.parametrize(
    ("patch", "merged"),
    [
        # merged by name, and what is new stands behind what is there
        (containers({"name": "new", "image": "x"}), [NGINX, SIDECAR, {"name": "new", "image": "x"}]),
        (containers({"name": "nginx", "image": "nginx:2"}), [NGINX | {"image": "nginx:2"}, SIDECAR]),
        (containers({"name": "nginx", "tty": True}), [NGINX | {"tty": True}, SIDECAR]),
        (containers({"name": "nginx", "image": None}), [{"name": "nginx"}, SIDECAR]),
        (containers({"$patch": "delete", "name": "nginx"}), [SIDECAR]),
        (containers({"$patch": "delete", "name": "gone"}), [NGINX, SIDECAR]),
        (containers({"$patch": "replace"}, {"name": "only"}), [{"name": "only"}]),
        (
            {"spec": {"$setElementOrder/containers": [{"name": "sidecar"}, {"name": "nginx"}]}},
            [SIDECAR, NGINX],
        ),
        (
            {
                "spec": {
                    "$setElementOrder/containers": [{"name": "new"}, {"name": "nginx"}],
                    "containers": [{"name": "new"}],
                }
            },
            [SIDECAR, {"name": "new"}, NGINX],
        ),
        ({"spec": {"containers": None}}, None),
    ],
)
def test_containers_are_merged_by_name(patch: Json, merged: list[Json] | None) -> None:
    pod = containers(NGINX, SIDECAR)
    assert strategic(PODS, pod, patch)["spec"].get("containers") == merged
    assert pod == containers(NGINX, SIDECAR)  # what it was made of stays


def test_lists_inside_of_lists_have_keys_of_their_own() -> None:
    pod = containers(NGINX | {"ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]})
    patch = containers(
        {
            "name": "nginx",
            "ports": [{"containerPort": 80, "name": "http"}, {"containerPort": 443}],
            "env": [{"name": "A", "$patch": "delete"}, {"name": "B", "value": "2"}],
        }
    )
    (merged,) = strategic(PODS, pod, patch)["spec"]["containers"]
    assert merged["ports"] == [{"containerPort": 80, "name": "http"}, {"containerPort": 443}]
    assert merged["env"] == [{"name": "B", "value": "2"}]


def test_conditions_and_addresses_are_merged_by_type() -> None:
    node = {
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        }
    }
    patch = {
        "status": {
            "conditions": [{"type": "Ready", "status": "Unknown"}],
            "addresses": [
                {"type": "Hostname", "address": "n"},
                {"type": "InternalIP", "address": "10.0.0.2"},
            ],
        }
    }
    status = strategic(NODES, node, patch)["status"]
    assert [(one["type"], one["status"]) for one in status["conditions"]] == [
        ("Ready", "Unknown"),
        ("DiskPressure", "False"),
    ]
    assert [(one["type"], one["address"]) for one in status["addresses"]] == [
        ("Hostname", "n"),
        ("InternalIP", "10.0.0.2"),
    ]


def test_sets_of_plain_values() -> None:
    pod = {"metadata": {"finalizers": ["a", "b"]}}
    assert strategic(PODS, pod, {"metadata": {"finalizers": ["c", "b"]}})["metadata"]["finalizers"] == [
        *("a", "c", "b")
    ]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"]}}
    assert strategic(PODS, pod, patch)["metadata"]["finalizers"] == ["b"]


def test_other_lists_are_replaced_whole() -> None:
    pod = {"spec": {"tolerations": [{"key": "a"}]}}
    assert strategic(PODS, pod, {"spec": {"tolerations": [{"key": "b"}]}})["spec"] == {
        "tolerations": [{"key": "b"}]
    }
    policy = {"spec": {"ingress": [{"ports": [{"port": 1}]}]}}
    patch = {"spec": {"ingress": [{"ports": [{"port": 2}]}]}}
    assert strategic(NETWORK_POLICIES, policy, patch) == patch


@pytest.mark.parametrize(
    ("patch", "spec"),
    [
        ({"$retainKeys": ["a", "c"], "c": 3}, {"a": 1, "c": 3}),
        ({"$patch": "replace", "c": 3}, {"c": 3}),
        ({"$patch": "delete"}, {}),
        ({"b": None, "c": {"d": None, "e": 1}}, {"a": 1, "c": {"e": 1}}),
    ],
)
def test_directives_of_objects(patch: Json, spec: Json) -> None:
    assert strategic(PODS, {"spec": {"a": 1, "b": 2}}, {"spec": patch})["spec"] == spec


@pytest.mark.parametrize(
    "patch", [{"spec": {"$patch": "blend"}}, containers({"image": "x"}), {"spec": {"containers": ["x"]}}]
)
def test_invalid_strategic_patches(patch: Json) -> None:
    with pytest.raises(Refused) as refused:
        strategic(PODS, containers(NGINX), patch)
    assert refused.value.code == 400


@pytest.mark.parametrize(
    ("operations", "result"),
    [
        ([{"op": "add", "path": "/b", "value": 1}], {"a": [1, 2], "b": 1}),
        ([{"op": "add", "path": "/a/1", "value": 9}], {"a": [1, 9, 2]}),
        ([{"op": "add", "path": "/a/-", "value": 9}], {"a": [1, 2, 9]}),
        ([{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ([{"op": "replace", "path": "/a/0", "value": 7}], {"a": [7, 2]}),
        ([{"op": "move", "from": "/a/0", "path": "/x~1y"}], {"a": [2], "x/y": 1}),
        ([{"op": "copy", "from": "/a", "path": "/m~0n"}], {"a": [1, 2], "m~n": [1, 2]}),
        ([{"op": "test", "path": "/a/1", "value": 2}, {"op": "remove", "path": "/a"}], {}),
        ([{"op": "replace", "path": "", "value": {"all": "new"}}], {"all": "new"}),
    ],
)
def test_json_patches(operations: list[Json], result: Json) -> None:
    """RFC 6902, appendix A, in short."""
    target = {"a": [1, 2]}
    assert json_patch(target, operations) == result
    assert target == {"a": [1, 2]}


@pytest.mark.parametrize(
    ("operations", "code"),
    [
        ({"op": "add"}, 400),
        ([{"op": "test", "path": "/a", "value": 1}], 422),
        ([{"op": "remove", "path": "/none"}], 422),
        ([{"op": "remove", "path": "/a/5"}], 422),
        ([{"op": "add", "path": "/a/x", "value": 1}], 422),
        ([{"op": "add", "path": "/a/0/b", "value": 1}], 422),
        ([{"op": "add", "path": "a", "value": 1}], 422),
        ([{"op": "blend", "path": "/a"}], 422),
        ([{"path": "/a"}], 422),
        ([{"op": "replace", "path": "", "value": 3}], 422),
    ],
)
def test_json_patches_that_cannot_be_done(operations: Any, code: int) -> None:
    with pytest.raises(Refused) as refused:
        json_patch({"a": [1, 2]}, operations)
    assert refused.value.code == code


def test_apply_accepts_yaml() -> None:
    body = b"metadata: {annotations: {t: 2026-01-01}}\n"
    body += b"spec:\n  containers:\n  - {name: nginx, image: 'nginx:2'}\n"
    merged = patched(PODS, containers(NGINX, SIDECAR), body, APPLY)
    assert merged["spec"]["containers"] == [NGINX | {"image": "nginx:2"}, SIDECAR]
    assert merged["metadata"]["annotations"] == {"t": "2026-01-01"}  # a time stays text


@pytest.mark.parametrize(
    ("body", "kind"), [(b"{", ""), (b"\xff", ""), (b"[1]", ""), (b"a: [", "application/yaml")]
)
def test_invalid_bodies(body: bytes, kind: str) -> None:
    with pytest.raises(Refused) as refused:
        read_object(body, kind)
    assert (refused.value.code, msgspec.json.decode(refused.value.body)["reason"]) == (400, "BadRequest")
