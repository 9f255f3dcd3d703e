"""What a client of the small API server notices when it gets, and is turned away."""

from __future__ import annotations

import pytest

from romana_bus.lab.kubeapi.resources import PODS, Resource
from tests.lab.apiserver import ApiServer
from tests.lab.client import add, asking, pod

PODS_PATH = "/api/v1/pods"
WEB_PODS = "/api/v1/namespaces/web/pods"
FROGS = Resource("pond.example", "v1beta1", "frogs", "Frog", namespaced=True)


async def test_a_get_shows_the_object_as_it_is_kept() -> None:
    server = ApiServer()
    add(server, "web", "a")
    async with asking(server) as client:
        raw = server.store.get(PODS, "web/a")
        assert raw is not None
        assert (await client.ask(f"{WEB_PODS}/a")).body == raw + b"\n"
        missing = await client.ask(f"{WEB_PODS}/b")
        assert (missing.status, missing.message) == (404, 'pods "b" not found')
        assert missing.json["details"] == {"name": "b", "kind": "pods"}


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/apis/apps/v1/deployments", 404),
        ("GET", "/api/v1/pods/a", 404),
        ("GET", "/api/v1/namespaces/web/frogs", 404),
        ("GET", "/api/v1/namespaces/web/pods/a/status/more", 404),
        ("POST", PODS_PATH, 405),
        ("DELETE", PODS_PATH, 405),
        ("DELETE", WEB_PODS, 405),
        ("DELETE", "/api/v1/namespaces", 405),
        ("GET", f"{WEB_PODS}/a/binding", 405),
        ("GET", f"{WEB_PODS}/a/log", 404),
        ("POST", f"{WEB_PODS}/a", 405),
    ],
)
async def test_unknown_paths(method: str, path: str, code: int) -> None:
    async with asking(ApiServer()) as client:
        answer = await client.ask(path, method)
        assert (answer.status, answer.json["kind"], answer.json["code"]) == (code, "Status", code)


async def test_other_resources_can_be_registered() -> None:
    server = ApiServer([FROGS])
    add(server, "pond", "kermit", resource=FROGS)
    async with asking(server) as client:
        listed = await client.ask("/apis/pond.example/v1beta1/frogs")
        assert listed.json["kind"] == "FrogList"
        assert listed.json["apiVersion"] == "pond.example/v1beta1"
        assert listed.names == ["kermit"]
        missing = await client.ask("/apis/pond.example/v1beta1/namespaces/pond/frogs/x")
        assert missing.message == 'frogs.pond.example "x" not found'
        assert (await client.ask(PODS_PATH)).status == 404


async def test_only_the_right_token_is_accepted() -> None:
    async with asking(ApiServer(token="good"), "bad") as client:
        for path in (PODS_PATH, f"{PODS_PATH}?watch=1", "/api/v1/frogs"):
            assert (await client.ask(path)).status == 401
        bearing = {"Authorization": "Bearer good"}
        assert (await client.ask(PODS_PATH, headers=bearing)).status == 200
        assert (await client.ask("/api/v1/frogs", headers=bearing)).status == 404
        assert (await client.ask("/livez")).status == 200


async def test_accepted_tokens_may_change() -> None:
    accepted = {"new"}
    paths = (PODS_PATH, f"{PODS_PATH}?watch=1&timeoutSeconds=1", f"{WEB_PODS}/a", "/api", "/api/v1/frogs")
    async with asking(ApiServer(tokens=accepted), "old") as client:
        assert [(await client.ask(path)).status for path in paths] == [401] * 5
        accepted.add("old")
        assert [(await client.ask(path)).status for path in paths] == [200, 200, 404, 200, 404]
        accepted.clear()
        assert [(await client.ask(path)).status for path in paths] == [401] * 5
        assert (await client.ask(PODS_PATH, headers={"Authorization": "Bearer None"})).status == 401


async def test_forbidden_request_names_the_resource_and_can_be_allowed_again() -> None:
    server = ApiServer()
    async with asking(server) as client:
        for verb in ("get", "create"):
            server.forbid(verb, "pods")
        get = await client.ask(f"{WEB_PODS}/a")
        assert get.status == 403
        assert get.message == (
            'pods "a" is forbidden: User "romana-watcher" cannot get resource "pods" in API group "" '
            'in the namespace "web"'
        )
        assert get.json["details"] == {"name": "a", "kind": "pods"}
        assert (await client.ask(WEB_PODS, "POST", pod("a"))).status == 403
        assert (await client.ask(WEB_PODS)).status == 200
        server.allow("get", "pods")
        assert (await client.ask(f"{WEB_PODS}/a")).status == 404
        server.forbid("list", "networkpolicies")
        policies = await client.ask("/apis/networking.k8s.io/v1/networkpolicies")
        assert policies.message == (
            'networkpolicies.networking.k8s.io is forbidden: User "romana-watcher" cannot list resource '
            '"networkpolicies" in API group "networking.k8s.io" at the cluster scope'
        )


async def test_requests_are_counted_even_those_that_are_refused() -> None:
    server = ApiServer(token="good")
    async with asking(server, "bad") as client:
        await client.ask(PODS_PATH)
        await client.ask(f"{PODS_PATH}?limit=1")
        await client.ask(f"{PODS_PATH}?watch=1")
        await client.ask("/api/v1/nodes/a", "PATCH")
    assert server.requests == {("list", "pods"): 2, ("watch", "pods"): 1, ("patch", "nodes"): 1}


async def test_a_restart_keeps_port_and_objects() -> None:
    server = ApiServer()
    async with asking(server) as client:
        url = server.url
        await client.ask(WEB_PODS, "POST", pod("a"))
    async with asking(server) as client:
        assert server.url == url
        assert (await client.ask(PODS_PATH)).names == ["a"]
