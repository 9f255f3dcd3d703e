"""The form of what is read here of objects: another form is refused, the rest is not looked at. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource


class _Shape(msgspec.Struct, rename="camel"):
    """Any field may be absent, or null, as Go has it."""


class _Metadata(_Shape):
    name: str | None = None
    namespace: str | None = None
    generate_name: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[dict[str, Any]] | None = None
    deletion_grace_period_seconds: int | None = None


class _Condition(_Shape):
    type: str | None = None
    status: str | None = None
    reason: str | None = None
    message: str | None = None


class _Taint(_Shape):
    """Of a node, or what a pod tolerates of one."""

    key: str | None = None
    value: str | None = None
    effect: str | None = None
    operator: str | None = None


class _Expression(_Shape):
    key: str
    operator: str
    values: list[str] | None = None


class _Term(_Shape):
    match_expressions: list[_Expression] | None = None
    match_fields: list[_Expression] | None = None


class _Required(_Shape):
    node_selector_terms: list[_Term] | None = None


class _NodeAffinity(_Shape):
    required: _Required | None = msgspec.field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=None
    )


class _Affinity(_Shape):
    node_affinity: _NodeAffinity | None = None


class _Port(_Shape):
    container_port: int | None = None
    protocol: str | None = None


class _Container(_Shape):
    name: str | None = None
    image: str | None = None
    ports: list[_Port] | None = None


class _Gate(_Shape):
    condition_type: str | None = None


class _PodSpec(_Shape):
    containers: list[_Container] | None = None
    init_containers: list[_Container] | None = None
    node_name: str | None = None
    node_selector: dict[str, str] | None = None
    affinity: _Affinity | None = None
    tolerations: list[_Taint] | None = None
    scheduler_name: str | None = None
    scheduling_gates: list[dict[str, Any]] | None = None
    readiness_gates: list[_Gate] | None = None
    termination_grace_period_seconds: int | None = None
    host_network: bool | None = None


class _Ended(_Shape):
    exit_code: int | None = None
    signal: int | None = None
    reason: str | None = None
    finished_at: str | None = None


class _State(_Shape):
    waiting: _Condition | None = None
    running: dict[str, Any] | None = None
    terminated: _Ended | None = None


class _ContainerStatus(_Shape):
    ready: bool | None = None
    restart_count: int | None = None
    state: _State | None = None
    last_state: _State | None = None


class _Ip(_Shape):
    ip: str | None = None


class _PodStatus(_Shape):
    phase: str | None = None
    reason: str | None = None
    conditions: list[_Condition] | None = None
    container_statuses: list[_ContainerStatus] | None = None
    init_container_statuses: list[_ContainerStatus] | None = None
    pod_ip: str | None = msgspec.field(name="podIP", default=None)
    pod_ips: list[_Ip] | None = msgspec.field(name="podIPs", default=None)


class _Pod(_Shape):
    metadata: _Metadata
    spec: _PodSpec | None = None
    status: _PodStatus | None = None


class _NodeSpec(_Shape):
    unschedulable: bool | None = None
    taints: list[_Taint] | None = None


class _Address(_Shape):
    type: str | None = None
    address: str | None = None


class _NodeStatus(_Shape):
    conditions: list[_Condition] | None = None
    addresses: list[_Address] | None = None
    node_info: dict[str, Any] | None = None


class _Node(_Shape):
    metadata: _Metadata
    spec: _NodeSpec | None = None
    status: _NodeStatus | None = None


class _NamespaceStatus(_Shape):
    phase: str | None = None


class _Namespace(_Shape):
    metadata: _Metadata
    spec: dict[str, Any] | None = None
    status: _NamespaceStatus | None = None


class _Selector(_Shape):
    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None


class _Rule(_Shape):
    ports: list[dict[str, Any]] | None = None


class _PolicySpec(_Shape):
    pod_selector: _Selector | None = None
    ingress: list[_Rule | None] | None = None
    egress: list[_Rule | None] | None = None
    policy_types: list[str] | None = None


class _NetworkPolicy(_Shape):
    metadata: _Metadata
    spec: _PolicySpec | None = None


class _Other(_Shape):
    metadata: _Metadata


_SHAPES: dict[str, type[_Shape]] = {
    "Pod": _Pod,
    "Node": _Node,
    "Namespace": _Namespace,
    "NetworkPolicy": _NetworkPolicy,
}


def misshapen(resource: Resource, item: dict[str, Any]) -> str:
    """What has another form than it should; '' where nothing has."""
    try:
        msgspec.convert(item, type=_SHAPES.get(resource.kind, _Other))
    except msgspec.ValidationError as error:
        return str(error)
    return ""
