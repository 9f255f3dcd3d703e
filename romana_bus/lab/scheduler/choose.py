"""Chooses a node for each pod, or the reason why none fits. Pure: pods and nodes in, decisions out.

A node is eligible if it is Ready, not cordoned, has the labels that the pod's nodeSelector and required
nodeAffinity require, and no taint that the pod does not tolerate. The eligible node with the fewest pods is
chosen, then the first by name; older pods come first. Not considered: resources, preferences,
(anti-)affinity to other pods, spread constraints, priorities.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.lab.kubeapi.read.selectors import Requirement

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = dict[str, Any]

OURS = "default-scheduler"

_CORDON = "node.kubernetes.io/unschedulable"
_OPERATORS = {
    "In": "in",
    "NotIn": "notin",
    "Exists": "exists",
    "DoesNotExist": "!",
    "Gt": "gt",
    "Lt": "lt",
}

#: The reasons why a node is not eligible, with the texts of kube-scheduler.
_NOT_READY = "node(s) were not ready"
_CORDONED = "node(s) were unschedulable"
_MISMATCH = "node(s) didn't match Pod's node affinity/selector"
_TAINTED = "node(s) had untolerated taint(s)"


class Decision(NamedTuple):
    """The decision about a pod. `node`: '' if no node fits; then `why` is the reason."""

    namespace: str
    name: str
    uid: str
    node: str
    why: str = ""


def choose(pods: Iterable[Json], nodes: Iterable[Json]) -> list[Decision]:
    """One decision for each pod that we have to schedule, as if each were carried out before the next."""
    pods, nodes = list(pods), sorted(nodes, key=_name)
    load = Counter(_spec(pod).get("nodeName", "") for pod in pods if not _ended(pod))
    decisions = []
    for pod in sorted(filter(wanted, pods), key=_turn):
        eligible = [node for node in nodes if not objection(pod, node)]
        node = min(eligible, key=lambda node: (load[_name(node)], _name(node))) if eligible else None
        load[_name(node) if node else ""] += 1
        decisions.append(_decision(pod, nodes, node))
    return decisions


def wanted(pod: Json) -> bool:
    """Whether we have to schedule the pod."""
    spec = _spec(pod)
    placed = spec.get("nodeName") or spec.get("schedulingGates") or pod["metadata"].get("deletionTimestamp")
    return not placed and not _ended(pod) and spec.get("schedulerName", OURS) == OURS


def stated_reason(pod: Json) -> str:
    """The message of the pod's condition PodScheduled if it is not scheduled, or ''."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message", ""))
    return ""


def objection(pod: Json, node: Json) -> str:
    """Why the node is not eligible for the pod; '' if it is eligible."""
    if not _fits(_spec(pod), node):
        return _MISMATCH
    tolerations = _spec(pod).get("tolerations") or []
    cordon = {"key": _CORDON, "effect": "NoSchedule"}
    if _spec(node).get("unschedulable") and not _tolerated(cordon, tolerations):
        return _CORDONED
    taints = [taint for taint in _spec(node).get("taints") or [] if taint.get("key") != _CORDON]
    hard = [taint for taint in taints if taint.get("effect") in ("NoSchedule", "NoExecute")]
    if not all(_tolerated(taint, tolerations) for taint in hard):
        return _TAINTED
    return "" if _ready(node) else _NOT_READY


def _decision(pod: Json, nodes: list[Json], node: Json | None) -> Decision:
    metadata = pod["metadata"]
    pod_id = (metadata.get("namespace", ""), metadata["name"], metadata.get("uid", ""))
    if node is not None:
        return Decision(*pod_id, _name(node))
    if not nodes:
        return Decision(*pod_id, "", "no nodes available to schedule pods")
    counts = Counter(objection(pod, node) for node in nodes)
    reasons = ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))
    return Decision(*pod_id, "", f"0/{len(nodes)} nodes are available: {reasons}.")


def _fits(spec: Json, node: Json) -> bool:
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    return any(_term(term, labels, _name(node)) for term in required.get("nodeSelectorTerms") or [])


def _term(term: Json, labels: dict[str, str], name: str) -> bool:
    """Whether all expressions of a term match the node; a term without expressions matches no node."""
    expressions, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    return bool(expressions or fields) and (
        all(_requirement(wanted).met(labels.get(wanted.get("key", ""))) for wanted in expressions)
        and all(
            _requirement(wanted).met(name if wanted.get("key") == "metadata.name" else None)
            for wanted in fields
        )
    )


def _requirement(expression: Json) -> Requirement:
    operator = _OPERATORS.get(expression.get("operator", ""), "in")
    return Requirement(expression.get("key", ""), operator, tuple(expression.get("values") or ()))


def _tolerated(taint: Json, tolerations: list[Json]) -> bool:
    return any(
        toleration.get("effect", "") in ("", taint.get("effect"))
        and toleration.get("key", "") in ("", taint.get("key"))
        and (
            toleration.get("operator") == "Exists"
            or (toleration.get("key") and toleration.get("value", "") == taint.get("value", ""))
        )
        for toleration in tolerations
    )


def _ready(node: Json) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or []
    return any(
        condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions
    )


def _turn(pod: Json) -> tuple[str, str, str]:
    metadata = pod["metadata"]
    return metadata.get("creationTimestamp") or "", metadata.get("namespace", ""), metadata["name"]


def _ended(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _spec(item: Json) -> Json:
    return item.get("spec") or {}


def _name(item: Json) -> str:
    return str(item["metadata"]["name"])
