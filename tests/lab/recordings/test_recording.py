"""What was recorded of a real API server comes out of the small one again, byte for byte."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from romana_bus.errors import BadInput
from romana_bus.lab.kubeapi.resources import BUILT_IN, NAMESPACES, NODES, PODS
from romana_bus.lab.kubeapi.store import watch_line
from romana_bus.lab.kubeapi.wire import bookmark, head
from romana_bus.lab.recordings.player import Recording, fill, final, moments, play
from romana_bus.lab.recordings.track import read_lines
from tests.conftest import run
from tests.lab.apiserver import ApiServer
from tests.lab.client import Client, asking

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.recordings.track import Line
    from tests.lab.client import Watched

RECORDINGS = Path(__file__).parents[3] / "recordings"


@pytest.fixture(scope="module")
def recording() -> Recording:
    return Recording.load(RECORDINGS)


def recorded(resource: Resource) -> list[Line]:
    return read_lines(RECORDINGS / f"{resource.plural}.jsonl")


def changes(resource: Resource) -> list[bytes]:
    """The recorded watches' lines, without the bookmarks: those come at the server's own times."""
    lines = [line.body for line in recorded(resource) if line.kind == "watch"]
    return [line.encode() + b"\n" for line in lines if not line.startswith('{"type":"BOOKMARK"')]


@pytest.mark.parametrize("resource", BUILT_IN, ids=lambda resource: resource.plural)
async def test_the_recorded_requests_in_their_order_get_the_recorded_answers(
    recording: Recording, resource: Resource
) -> None:
    server = ApiServer()
    fill(recording, server)
    async with asking(server) as client:
        await _Replay(recording, resource, server, client).run()


@pytest.mark.parametrize("resource", BUILT_IN, ids=lambda resource: resource.plural)
def test_bookmarks_have_the_recorded_shape(resource: Resource) -> None:
    bookmarks = [line.body for line in recorded(resource) if line.body.startswith('{"type":"BOOKMARK"')]
    assert bookmarks
    for body in bookmarks:
        version = json.loads(body)["object"]["metadata"]["resourceVersion"]
        assert bookmark(resource, int(version)).decode() == body + "\n"


class _Replay:
    """One file's lines against the server, each change applied when its line is due."""

    def __init__(self, recording: Recording, resource: Resource, server: ApiServer, client: Client) -> None:
        self.resource, self.server, self.client = resource, server, client
        self.events = iter([event for event in recording.events if event.resource == resource])

    async def run(self) -> None:
        async with AsyncExitStack() as stack:
            for line in recorded(self.resource):
                match line.kind:
                    case "list":
                        answer = await self.client.ask(line.path)
                        assert (answer.status, answer.body.decode()) == (line.status, line.body)
                    case "watch-open":
                        watch = await stack.enter_async_context(self.client.watch(line.path))
                        assert watch.response.status == line.status
                    case "watch-close":
                        self.server.close_watches()
                        assert await watch.line() == b""
                    case "watch":
                        await self._line(watch, line.body)

    async def _line(self, watch: Watched, body: str) -> None:
        if json.loads(body)["type"] == "BOOKMARK":
            return
        event = next(self.events)
        self.server.apply_recorded(event.kind, event.resource, event.raw)
        assert (await watch.line()).decode() == body + "\n"


async def test_all_watches_at_once_show_what_was_recorded_and_lists_what_is_left(
    recording: Recording,
) -> None:
    server = ApiServer()
    fill(recording, server)
    async with asking(server) as client, AsyncExitStack() as stack:
        watches = {
            resource: await stack.enter_async_context(
                client.watch(f"{resource.path}?watch=1&resourceVersion={recording.version}")
            )
            for resource in BUILT_IN
        }
        playing = asyncio.create_task(play(recording, server, speed=math.inf))
        for resource, watch in watches.items():
            expected = changes(resource)
            assert await watch.lines(len(expected)) == expected
        await playing
        for resource, objects in final(recording).items():
            listed = await client.ask(resource.path)
            assert listed.names == [key.rpartition("/")[2] for key in sorted(objects)]
            for raw in objects.values():
                assert raw.partition(b',"metadata"')[2] in listed.body


async def test_events_come_at_their_times(recording: Recording) -> None:
    began = time.monotonic()
    await play(recording, ApiServer(), speed=1000)
    took = time.monotonic() - began
    assert took > 0.9 * recording.duration / 1000  # the loop's clock is coarse


def test_recording_metadata(recording: Recording) -> None:
    assert recording.version == 273
    assert recording.duration == pytest.approx(123.5, abs=0.1)
    assert len(recording.events) == sum(len(changes(resource)) for resource in BUILT_IN)
    assert [event.version for event in recording.events] == sorted({e.version for e in recording.events})
    ended = final(recording)
    assert {"web", "db-example"} < ended[NAMESPACES].keys()
    assert "batch" not in ended[NAMESPACES]
    assert len(ended[NODES]) == 9
    assert recording.initial[PODS] == {}  # `final` left it alone


def test_resources_listed_at_different_times_begin_at_the_newest(tmp_path: Path) -> None:
    """What changed before the newest listing is in the beginning, not among the events."""
    path = "/api/v1/namespaces"
    watched = [line("watch", path, added(version)) for version in (6, 7, 8, 8)]
    write(tmp_path / "a.jsonl", [listing(path, 5), *watched])
    write(tmp_path / "b.jsonl", [listing("/api/v1/pods", 7)])
    recording = Recording.load(tmp_path)
    assert recording.version == 7
    assert list(recording.initial[NAMESPACES]) == ["n6", "n7"]
    assert [event.key for event in recording.events] == ["n8"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no recording"),
        ("", "a.jsonl: empty"),
        ("{", "a.jsonl:1: "),
        ('{"t":0,"kind":"lost","path":"/api/v1/pods","status":200,"body":""}', "a.jsonl:1: "),
        (
            '{"t":0,"kind":"list","path":"/api/v1/frogs","status":200,"body":""}',
            "the small API server does not serve /api/v1/frogs",
        ),
        ('{"t":0,"kind":"list","path":"/api/v1/pods","status":200,"body":"{}"}', "a.jsonl:1: "),
        ('{"t":0,"kind":"watch-open","path":"/api/v1/pods","status":200,"body":""}', "no listing"),
        (
            '{"t":0,"kind":"list","path":"/api/v1/pods","status":200,'
            '"body":"{\\"metadata\\":{\\"resourceVersion\\":\\"1\\"},\\"items\\":[]}"}\n'
            '{"t":1,"kind":"watch","path":"/api/v1/pods","status":200,'
            '"body":"{\\"type\\":\\"ADDED\\",\\"object\\":{}}"}',
            "a.jsonl:2: not a Pod as a watch shows it",
        ),
    ],
)
def test_unreadable_recording_is_a_one_line_error(tmp_path: Path, content: str | None, said: str) -> None:
    if content is not None:
        (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(BadInput) as raised:
        Recording.load(tmp_path)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("speed", [0, -1, math.nan])
async def test_a_speed_that_never_ends_is_refused(recording: Recording, speed: float) -> None:
    with pytest.raises(BadInput, match="above 0"):
        await play(recording, ApiServer(), speed)


def test_as_a_separate_process(recording: Recording) -> None:
    command = [sys.executable, "-m", "romana_bus.lab.recordings.player", str(RECORDINGS), "--speed", "inf"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        played = json.loads(process.stdout.readline())
        assert played == {"played": True, "resource_version": recording.events[-1].version}

        async def ask() -> None:
            async with Client(url) as client:
                assert len((await client.ask("/api/v1/nodes")).names) == 9

        run(ask())
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_long_pauses_can_be_cut_short(recording: Recording) -> None:
    asked = [event.t / 2 for event in recording.events]
    assert moments(recording, 2, math.inf) == pytest.approx(asked)
    short = moments(recording, 2, 0.5)
    assert max(later - earlier for earlier, later in pairwise(short)) == pytest.approx(0.5)
    assert sorted(short) == short
    assert short[-1] < asked[-1] / 2


def test_a_signal_ends_the_delay() -> None:
    command = [
        sys.executable,
        "-m",
        "romana_bus.lab.recordings.player",
        str(RECORDINGS),
        "--speed=inf",
        "--delay=3600",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "url" in json.loads(process.stdout.readline())
        process.send_signal(signal.SIGUSR1)
        assert json.loads(process.stdout.readline())["played"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_process_reports_an_unreadable_recording_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "romana_bus.lab.recordings.player", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, f"{tmp_path}: no recording (*.jsonl) there\n")


def test_error_contains_no_control_sequences(tmp_path: Path) -> None:
    (tmp_path / "\x1b]0;title\x07.jsonl").write_bytes(b"\x1b[2J")
    command = [sys.executable, "-m", "romana_bus.lab.recordings.player", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert r"\x1b]0;title\x07.jsonl" in ended.stderr
    assert "\x1b" not in ended.stderr


def line(kind: str, path: str, body: str) -> dict[str, object]:
    return {"t": 0.0, "kind": kind, "path": path, "status": 200, "body": body}


def listing(path: str, version: int) -> dict[str, object]:
    return line("list", path, f'{{"metadata":{{"resourceVersion":"{version}"}},"items":[]}}')


def write(path: Path, lines: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(one) + "\n" for one in lines))


def added(version: int) -> str:
    """A line of a watch: a namespace that is named by its version."""
    metadata = b'"metadata":{"name":"n%d","resourceVersion":"%d"}}' % (version, version)
    return watch_line("ADDED", head(NAMESPACES) + metadata).decode().rstrip()
