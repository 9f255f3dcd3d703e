"""Answers in table form: columns, cells, and the objects beside them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from romana_bus.lab.kubeapi.read.ages import age
from romana_bus.lab.kubeapi.read.tables import cells, columns, selector_text
from romana_bus.lab.kubeapi.resources import NODES
from tests.lab.apiserver import ApiServer
from tests.lab.client import add, asking

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def status_of(pod: dict[str, Any]) -> str:
    from romana_bus.lab.kubeapi.read.pod_columns import pod_cells

    item = {"metadata": {"name": "p", **pod.pop("metadata", {})}, **pod}
    return str(pod_cells(item, NOW)[2])


async def test_a_list_as_a_table() -> None:
    server = ApiServer()
    add(server, "web", "a", "b")
    async with asking(server) as client:
        listed = (await client.ask("/api/v1/pods?limit=1", headers={"Accept": TABLE})).json
        assert (listed["kind"], listed["apiVersion"]) == ("Table", "meta.k8s.io/v1")
        assert listed["metadata"]["remainingItemCount"] == 1
        names = [(one["name"], one["priority"]) for one in listed["columnDefinitions"]]
        assert names[:6] == [
            *(("Name", 0), ("Ready", 0), ("Status", 0), ("Restarts", 0), ("Age", 0)),
            ("IP", 1),
        ]
        (row,) = listed["rows"]
        assert row["cells"][:5] == ["a", "0/0", "", "0", "<unknown>"]
        assert row["object"]["kind"] == "PartialObjectMetadata"
        assert row["object"]["metadata"]["name"] == "a"
        one = (await client.ask("/api/v1/namespaces/web/pods/b", headers={"Accept": TABLE})).json
        assert one["metadata"] == {"resourceVersion": "3"}
        assert one["rows"][0]["cells"][0] == "b"


@pytest.mark.parametrize(("include", "kind"), [("Object", "Pod"), ("Metadata", "PartialObjectMetadata")])
async def test_metadata_beside_the_cells(include: str, kind: str) -> None:
    server = ApiServer()
    add(server, "web", "a")
    async with asking(server) as client:
        path = f"/api/v1/pods?includeObject={include}"
        row = (await client.ask(path, headers={"Accept": TABLE})).json["rows"][0]
        assert row["object"]["kind"] == kind
        none = (await client.ask("/api/v1/pods?includeObject=None", headers={"Accept": TABLE})).json
        assert none["rows"][0]["object"] is None


@pytest.mark.parametrize("start", ["", "&resourceVersion=1"])
async def test_a_watch_as_tables_shows_its_columns_once(start: str) -> None:
    server = ApiServer()
    add(server, "web", "a")
    path = f"/api/v1/pods?watch=1{start}"
    async with asking(server) as client, client.watch(path, TABLE) as watch:
        add(server, "web", "b")
        first, second = [msgspec.json.decode(line) for line in await watch.lines(2)]
        assert [one["object"]["rows"][0]["cells"][0] for one in (first, second)] == ["a", "b"]
        assert first["object"]["columnDefinitions"][0]["name"] == "Name"
        assert second["object"]["columnDefinitions"] is None


def container(state: dict[str, Any], ready: bool = False, **more: Any) -> dict[str, Any]:
    return {"name": "c", "state": state, "ready": ready, **more}


WAITS = container({"waiting": {"reason": "CrashLoopBackOff"}})
RUNS = container({"running": {}}, ready=True)
ENDED = container({"terminated": {"exitCode": 0, "reason": "Completed"}})


@pytest.mark.parametrize(
    ("pod", "status"),
    [
        ({"status": {"phase": "Running"}}, "Running"),
        ({"status": {"phase": "Failed", "reason": "Evicted"}}, "Evicted"),
        ({"status": {"phase": "Running", "containerStatuses": [WAITS]}}, "CrashLoopBackOff"),
        ({"status": {"phase": "Running", "containerStatuses": [RUNS]}}, "Running"),
        ({"status": {"phase": "Succeeded", "containerStatuses": [ENDED]}}, "Completed"),
        ({"status": {"phase": "Running"}, "metadata": {"deletionTimestamp": "x"}}, "Terminating"),
        ({"status": {"phase": "Failed"}, "metadata": {"deletionTimestamp": "x"}}, "Failed"),
    ],
)
def test_the_status_of_a_pod(pod: dict[str, Any], status: str) -> None:
    assert status_of(pod) == status


def test_node_without_status() -> None:
    row = cells(NODES, {"metadata": {"name": "n"}}, NOW)
    assert len(row) == len(columns(NODES))
    assert row == ["n", "Unknown", "<none>", "<unknown>", "", *["<none>"] * 2, *["<unknown>"] * 3]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((-5, "0s"), (119, "119s"), (120, "2m"), (3 * 3600 - 1, "179m"), (3 * 3600, "3h")),
        *((48 * 3600 - 1, "47h"), (48 * 3600, "2d"), (800 * 86400, "800d")),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    assert age((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == text


def test_selectors_in_one_line() -> None:
    assert selector_text({}) == "<none>"
    expressions = [
        {"key": "c", "operator": "In", "values": ["y", "x"]},
        {"key": "d", "operator": "NotIn", "values": ["z"]},
        {"key": "a", "operator": "Exists"},
        {"key": "e", "operator": "DoesNotExist"},
    ]
    selector = {"matchLabels": {"b": "1"}, "matchExpressions": expressions}
    assert selector_text(selector) == "a,b=1,c in (x,y),d notin (z),!e"
