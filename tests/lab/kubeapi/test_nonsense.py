"""Whatever is sent, it is refused with a reason or it can be shown and scheduled, and nothing breaks."""

from __future__ import annotations

import contextlib
import itertools
from datetime import UTC, datetime
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from romana_bus.lab.kubeapi.calls import Call
from romana_bus.lab.kubeapi.read.selectors import read_fields, read_labels
from romana_bus.lab.kubeapi.read.tables import cells, columns
from romana_bus.lab.kubeapi.resources import BUILT_IN, NAMESPACES, NETWORK_POLICIES, NODES, PODS, Resource
from romana_bus.lab.kubeapi.status import Refused
from romana_bus.lab.kubeapi.store import Store
from romana_bus.lab.kubeapi.write import patches
from romana_bus.lab.kubeapi.write.admission import Rules
from romana_bus.lab.kubeapi.write.writes import write
from romana_bus.lab.scheduler.choose import choose
from tests.conftest import run
from tests.lab.apiserver import ApiServer
from tests.lab.client import add

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
def test_accepted_objects_can_be_shown_and_scheduled(
    calls: list[tuple[Resource, str, str, Any, Any]],
) -> None:
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


_OPTIONS = """
    watch resourceVersion resourceVersionMatch limit continue timeoutSeconds sendInitialEvents
    allowWatchBookmarks labelSelector fieldSelector dryRun fieldValidation fieldManager force
    gracePeriodSeconds propagationPolicy orphanDependents includeObject pretty verbose nonsense
"""
#: As in a URL: empty, negative, huge, not a number, of another script, not UTF-8, half a character.
_NONSENSE = (
    *("", "0", "-0", "-1", "-", "9223372036854775807", "9223372036854775808", "9" * 5000, "1e5", "1.5"),
    *("abc", "true", "null", "%00", "%0A", "%22", "%25", "%2B1", "%C2%B2", "%D9%A1", "%ff%fe", "%ED%A0%80"),
    *("%F0%9F%98%80", "=", "a=b", "a%20in%20(", "!", "x" * 5000, "W1tb", "eyJ2IjoibWV0YS5rOHMuaW8vdjEifQ"),
)
#: Deeper than most readers follow, and as deep as the parser does but not all who look at it afterwards.
_DEEP = (b"[" * 100_000, b'{"metadata":{"name":"q","x":%s%s}}' % (b"[" * 900, b"]" * 900))

_OF_WEB = "/api/v1/namespaces/web/pods"
_READS = ("/api/v1/pods", "/api/v1/pods?watch=1", _OF_WEB, f"{_OF_WEB}/a", "/api", "/readyz", "/openapi/v3")
_WRITES = (
    ("POST", _OF_WEB),
    ("POST", f"{_OF_WEB}/a/binding"),
    ("PUT", f"{_OF_WEB}/a"),
    ("PATCH", f"{_OF_WEB}/a"),
    ("PATCH", f"{_OF_WEB}/a/status"),
    ("DELETE", f"{_OF_WEB}/zz"),
)
_ASKED = (*(("GET", path) for path in _READS), *_WRITES)

#: Bodies that are no JSON, no object, nested too deeply, or not of the types that all objects share.
_BROKEN = (
    *(b"", b"{", b"\xff\xfe", b"null", b"17", b"[1]", b"[" * 400, b"a: *b", b"a: &a [*a]", b"k8s\0\1\2"),
    *(b'{"metadata":%s}' % part for part in (b"7", b"[]", b'{"name":7}', b'{"name":"b","labels":7}')),
    *(b'{"metadata":{"name":%s}}' % name for name in (rb'"\ud800"', b'"\xff"', b'""', b'"a/b"')),
    b'{"metadata":{"name":"b"},"spec":7,"status":[]}',
    b'{"metadata":{"name":"%s"}}' % (b"n" * 10_000),
    *(b'{"gracePeriodSeconds":%s}' % grace for grace in (b"1e400", b"[]", b'"x"', b"9" * 400)),
    b'{"preconditions":7}',
    *(b"[%s]" % patch for patch in (b'{"op":"add"}', b'{"op":"replace","path":"/spec","value":7}')),
)


@pytest.mark.parametrize("option", _OPTIONS.split())
def test_no_option_breaks_the_server(option: str, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        server = ApiServer(graceful=True, admission=True)
        add(server, "web", "a")
        queries = [f"{option}={value}" for value in _NONSENSE]
        queries += [f"{option}=1&{query}" for query in queries] + [option, f"{option}&{option}"]
        async with server, aiohttp.ClientSession() as session:
            for (method, path), query in itertools.product(_ASKED, queries):
                url = URL(f"{server.url}{path}{'&' if '?' in path else '?'}{query}", encoded=True)
                kind = {"Content-Type": patches.MERGE} if method == "PATCH" else {}
                async with session.request(method, url, json={}, headers=kind) as answer:
                    assert answer.status < 500 or answer.status == 504, (method, url, await answer.text())
                    if answer.status >= 400:
                        assert (await answer.json())["code"] == answer.status

    run(test())
    assert not caplog.records


@pytest.mark.parametrize("rules", [False, True])
def test_no_body_breaks_the_server(rules: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        server = ApiServer(graceful=rules, admission=rules)
        add(server, "web", "a")
        kinds = (
            *patches.ACCEPTED,
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
            "nonsense",
            ";",
        )
        async with server, aiohttp.ClientSession() as session:
            sent = [*itertools.product(_BROKEN, kinds), *itertools.product(_DEEP, patches.ACCEPTED[:3])]
            for (method, path), (body, kind) in itertools.product(_WRITES, sent):
                url, headers = server.url + path, {"Content-Type": kind}
                async with session.request(method, url, data=body, headers=headers) as answer:
                    assert answer.status < 500, (method, url, body[:50], kind, await answer.text())
            for query in ("", "?labelSelector=a%3Db", "?fieldSelector=spec.nodeName%3Da"):
                for accept in ("*/*", "application/json;as=Table;v=v1;g=meta.k8s.io"):
                    url = f"{server.url}/api/v1/pods{query}"
                    async with session.get(url, headers={"Accept": accept}) as answer:
                        assert answer.status == 200

    run(test())
    assert not caplog.records
