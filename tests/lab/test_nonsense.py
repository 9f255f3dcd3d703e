"""Whatever is sent, it is refused with a reason or it can be shown and scheduled."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from romana_bus.lab import patches
from romana_bus.lab.admission import Rules
from romana_bus.lab.calls import Call
from romana_bus.lab.scheduling import choose
from romana_bus.lab.selectors import read_fields, read_labels
from romana_bus.lab.status import Refused
from romana_bus.lab.store import BUILT_IN, NAMESPACES, NETWORK_POLICIES, NODES, PODS, Resource, Store
from romana_bus.lab.tables import cells, columns
from romana_bus.lab.writes import write

RULES = Rules(graceful=True, admission=True)
NOW = datetime(2026, 1, 1, tzinfo=UTC)

#: Names that mean something somewhere, so that values meet those who read them.
_WORDS = """
    metadata spec status name namespace labels annotations finalizers deletionTimestamp
    creationTimestamp containers initContainers image ports containerPort protocol env nodeName
    nodeSelector tolerations taints key operator values effect affinity nodeAffinity
    requiredDuringSchedulingIgnoredDuringExecution conditions nodeSelectorTerms matchExpressions
    matchLabels podSelector ingress egress policyTypes type reason message phase addresses address
    nodeInfo kubeletVersion unschedulable containerStatuses state waiting running terminated
    exitCode restartCount lastState finishedAt ready podIP podIPs ip readinessGates conditionType
    $patch $retainKeys $setElementOrder/containers $deleteFromPrimitiveList/finalizers target uid
    resourceVersion terminationGracePeriodSeconds gracePeriodSeconds preconditions op path value
    from schedulerName
"""
_NAMES = st.sampled_from(_WORDS.split())
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 99)
    | st.sampled_from(["", "a", "True", "Ready", "/spec", "In"])
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)
_PARTS = {"spec": _VALUES, "status": _VALUES}
_BODIES = st.fixed_dictionaries({}, optional={"metadata": _VALUES, **_PARTS}) | _VALUES

#: Objects to begin with, so that there is something to change.
_POD = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
_SEEDS: list[tuple[Resource, dict[str, Any]]] = [
    (NAMESPACES, {"metadata": {"name": "web"}}),
    (PODS, _POD),
    (NODES, {"metadata": {"name": "a"}}),
    (NETWORK_POLICIES, {"metadata": {"name": "a"}}),
]

_CALLS = st.tuples(
    st.sampled_from(BUILT_IN),
    st.sampled_from(["create", "update", "patch", "patch", "status", "binding", "delete"]),
    st.sampled_from([patches.MERGE, patches.STRATEGIC, patches.JSON_PATCH, patches.APPLY]),
    _BODIES,
    _PARTS["spec"],
)


def do(store: Store, resource: Resource, verb: str, body: object, kind: str = "application/json") -> None:
    namespace = "web" if resource.namespaced else ""
    sub = verb if verb in ("status", "binding") else ""
    verb = {"status": "patch", "binding": "create"}.get(verb, verb)
    if sub not in ("", *resource.subresources):
        return
    name = "" if verb == "create" and not sub else "a"
    call = Call(verb, resource, namespace, name, sub)
    sent = msgspec.json.encode(body)
    write(store, call, sent, now="2026-01-01T00:00:00Z", uid="u", content_type=kind, rules=RULES)


@settings(max_examples=400)
@given(st.lists(_CALLS, min_size=1, max_size=5))
def test_what_was_taken_can_be_shown_and_scheduled(calls: list[tuple[Resource, str, str, Any, Any]]) -> None:
    store = Store()
    for resource, seed in _SEEDS:
        do(store, resource, "create", seed)
    for resource, verb, kind, body, part in calls:
        if isinstance(body, dict) and verb in ("create", "update"):
            body = {"metadata": {"name": "b" if verb == "create" else "a"}, "spec": part} | body
        with contextlib.suppress(Refused):
            do(store, resource, verb, body, kind)
    kept = {
        resource: [msgspec.json.decode(raw) for raw in store.snapshot(resource, store.version).raws]
        for resource in BUILT_IN
    }
    for resource, items in kept.items():
        for item in items:
            assert len(cells(resource, item, NOW)) == len(columns(resource))
    choose(kept[PODS], kept[NODES])


@given(st.text("ab=!<>(),in\\ ", max_size=12))
def test_any_selector_is_read_or_refused(text: str) -> None:
    for read in (read_labels, lambda one: read_fields(one, PODS)):
        with contextlib.suppress(Refused):
            read(text)
