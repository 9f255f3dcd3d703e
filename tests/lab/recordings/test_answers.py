"""Each answer of `recordings/answers.jsonl` again, from the small server in the same situation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.lab.kubeapi.wire import identity
from romana_bus.lab.recordings.player import Recording
from romana_bus.lab.recordings.track import RecordedEvent
from tests.lab.apiserver import ApiServer
from tests.lab.client import asking

if TYPE_CHECKING:
    from collections.abc import Mapping

RECORDINGS = Path(__file__).parents[3] / "recordings"

#: What a client may build on. The others are accidents of that day: ids of requests and flow schemas, dates.
COMPARED = ("Content-Type", "Cache-Control", "Content-Length", "Transfer-Encoding", "X-Content-Type-Options")

PARTIAL_LIST = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


class Recorded(msgspec.Struct):
    note: str
    method: str
    path: str
    status: int
    headers: dict[str, str]
    body: str


ANSWERS = {
    answer.note: answer
    for answer in map(
        msgspec.json.Decoder(Recorded).decode, (RECORDINGS / "answers.jsonl").read_bytes().splitlines()
    )
}


def at_the_end() -> ApiServer:
    """As the recorded server was when it gave these answers: it knew everything since version 7, and
    other things than are served here had been written up to 990."""
    recording = Recording.load(RECORDINGS)
    first = [
        RecordedEvent(0.0, int(identity(raw).resource_version), resource, "ADDED", key, raw)
        for resource, objects in recording.initial.items()
        for key, raw in objects.items()
    ]
    server = ApiServer(token="a-token")
    for event in sorted(first, key=lambda event: event.version) + list(recording.events):
        server.apply_recorded(event.kind, event.resource, event.raw)
    server.store.advance(990)
    server.compact(7)
    return server


def compared(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: headers[name] for name in COMPARED if name in headers}


@pytest.mark.parametrize("note", [note for note in ANSWERS if note != "readiness"])
async def test_the_answer_is_the_recorded_one(note: str) -> None:
    server, asked = at_the_end(), ANSWERS[note]
    if "not allowed" in note:
        server.forbid("list", "pods")
        server.forbid("watch", "pods")
    if "expired" in note:
        # The recorded token was older than etcd's compaction, but not than the API server's own
        # snapshots (ListFromCacheSnapshot), which answered it. Here history is one thing.
        server.compact(988)
    async with asking(server, "another" if "no credentials" in note else "a-token") as client:
        answer = await client.ask(
            asked.path.replace("timeoutSeconds=3", "timeoutSeconds=1"),
            asked.method,
            headers={"Accept": PARTIAL_LIST if note == "metadata only" else "*/*"},
        )
    assert (answer.status, answer.body.decode()) == (asked.status, asked.body)
    assert compared(answer.headers) == compared(asked.headers)
    assert "Server" not in answer.headers
    assert answer.headers["Audit-Id"]


async def test_readiness_has_the_recorded_shape() -> None:
    """Which checks there are, and so the length, is an accident of the recorded server."""
    asked = ANSWERS["readiness"]

    async with asking(ApiServer()) as client:
        answer = await client.ask(asked.path)
        assert answer.status == asked.status
        assert answer.headers["Content-Type"] == asked.headers["Content-Type"]
        *checks, last = answer.body.decode().splitlines()
        *_, recorded_last = asked.body.splitlines()
        assert last == recorded_last
        assert set(checks) <= set(asked.body.splitlines())
        assert (await client.ask("/readyz")).body == b"ok"
