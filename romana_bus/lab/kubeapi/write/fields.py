"""Which fields objects have: `fieldValidation` Strict, kubectl's default, refuses others, Warn warns. Pure.

The upper levels only, where people mistype: what is below them is taken as it comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi.status import bad_request

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_TOP = _words("apiVersion kind metadata spec status")

_METADATA = _words(
    """annotations creationTimestamp deletionGracePeriodSeconds deletionTimestamp finalizers generateName
    generation labels managedFields name namespace ownerReferences resourceVersion selfLink uid"""
)

_CONTAINER = _words(
    """args command env envFrom image imagePullPolicy lifecycle livenessProbe name ports readinessProbe
    resizePolicy resources restartPolicy restartPolicyRules securityContext startupProbe stdin stdinOnce
    terminationMessagePath terminationMessagePolicy tty volumeDevices volumeMounts workingDir"""
)

_SPEC = {
    "Pod": _words(
        """activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy
        enableServiceLinks ephemeralContainers hostAliases hostIPC hostNetwork hostPID hostUsers hostname
        hostnameOverride imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy
        priority priorityClassName readinessGates resourceClaims resources restartPolicy runtimeClassName
        schedulerName schedulingGates securityContext serviceAccount serviceAccountName setHostnameAsFQDN
        shareProcessNamespace subdomain terminationGracePeriodSeconds tolerations topologySpreadConstraints
        volumes workloadRef"""
    ),
    "Node": _words("configSource externalID podCIDR podCIDRs providerID taints unschedulable"),
    "Namespace": _words("finalizers"),
    "NetworkPolicy": _words("egress ingress podSelector policyTypes"),
}


def unknown_fields(resource: Resource, item: Json) -> list[str]:
    """`unknown field "spec.nodname"` for each that the kind does not have."""
    if resource.kind not in _SPEC:
        return []
    return [f'unknown field "{field}"' for field in sorted(_unknown(resource, item))]


def check_texts(resource: Resource, item: Json) -> None:
    """Raises Refused (400) where labels or annotations are no texts: YAML reads `1` and `yes` otherwise."""
    for field in ("labels", "annotations"):
        values = item["metadata"].get(field) or {}
        for value in values.values() if isinstance(values, dict) else [values]:
            if not isinstance(value, str):
                raise undecodable(
                    resource,
                    f"json: cannot unmarshal {_kind(value)} into Go struct field "
                    f"ObjectMeta.metadata.{field} of type string",
                )


def undecodable(resource: Resource, why: str) -> Exception:
    kind = resource.kind
    return bad_request(f'{kind} in version "{resource.version}" cannot be handled as a {kind}: {why}')


def _unknown(resource: Resource, item: Json) -> Iterator[str]:
    yield from _beyond(item, _TOP, "")
    yield from _beyond(item.get("metadata"), _METADATA, "metadata.")
    spec = item.get("spec")
    yield from _beyond(spec, _SPEC[resource.kind], "spec.")
    if resource.kind != "Pod" or not isinstance(spec, dict):
        return
    for containers in ("containers", "initContainers"):
        for place, one in enumerate(spec.get(containers) or []):
            yield from _beyond(one, _CONTAINER, f"spec.{containers}[{place}].")


def _beyond(value: Any, known: frozenset[str], path: str) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (f"{path}{field}" for field in value if field not in known)


def _kind(value: object) -> str:
    """What Go calls it."""
    match value:
        case bool():
            return "bool"
        case dict():
            return "object"
        case list():
            return "array"
        case _:
            return "number"
