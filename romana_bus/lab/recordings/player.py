"""Plays the recording of a real API server on the small one.

A recording is a directory of `*.jsonl`, one file per resource (see `track.py`). `answers.jsonl` in the same
directory holds single answers, and is not played.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import sys
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import uvloop

from romana_bus.errors import BadInput
from romana_bus.lab.kubeapi.resources import BUILT_IN
from romana_bus.lab.kubeapi.server import ApiServer
from romana_bus.lab.recordings.track import Track, apply
from romana_bus.printable import printable, printable_lines
from romana_bus.runtime.process.signals import until_signalled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.recordings.track import Objects, RecordedEvent


@dataclass(frozen=True)
class Recording:
    """A recording. `version`: of the newest of the first listings. `initial`: the objects at that version.
    `events`: every later change, in the order of versions. `duration`: seconds."""

    version: int
    initial: dict[Resource, Objects]
    events: tuple[RecordedEvent, ...]
    duration: float

    @classmethod
    def load(cls, directory: Path, resources: Sequence[Resource] = BUILT_IN) -> Recording:
        """Read a recording. Raises BadInput, which names the file and the line."""
        files = sorted(path for path in directory.glob("*.jsonl") if path.name != "answers.jsonl")
        if not files:
            raise BadInput(f"{directory}: no recording (*.jsonl) there")
        tracks = [Track.load(path, resources) for path in files]
        version = max(track.version for track in tracks)
        events = sorted((event for track in tracks for event in track.events), key=_by_version)
        return cls(
            version,
            {track.resource: track.objects_at(version) for track in tracks},
            tuple(event for event in events if event.version > version),
            max(track.duration for track in tracks),
        )


def _by_version(event: RecordedEvent) -> int:
    return event.version


def final(recording: Recording) -> dict[Resource, Objects]:
    """The objects of each resource at the end of the recording."""
    ended = {resource: dict(objects) for resource, objects in recording.initial.items()}
    for event in recording.events:
        apply(ended[event.resource], event)
    return ended


def fill(recording: Recording, server: ApiServer) -> None:
    """Fill the server with the objects at the beginning of the recording."""
    for resource, objects in recording.initial.items():
        server.store.fill(resource, recording.version, objects)


async def play(recording: Recording, server: ApiServer, speed: float = 1.0) -> None:
    """Fill the server, then apply every event at its time divided by `speed` (inf: at once). A client that
    lists before the server is filled gets an empty list."""
    fill(recording, server)
    await play_events(recording, server, speed)


async def play_events(
    recording: Recording, server: ApiServer, speed: float = 1.0, pause: float = math.inf
) -> None:
    """Apply every event to a server that is filled. `speed`, `pause`: as in `moments`. Raises BadInput if
    `speed` is not above 0."""
    if not speed > 0:
        raise BadInput(f"speed {speed}: it must be above 0")
    clock = asyncio.get_running_loop().time
    began = clock()
    for event, due in zip(recording.events, moments(recording, speed, pause), strict=True):
        await asyncio.sleep(max(0.0, began + due - clock()))
        server.apply_recorded(event.kind, event.resource, event.raw)


def moments(recording: Recording, speed: float, pause: float) -> list[float]:
    """When each event is played: seconds since the beginning. `pause`: at most between two events."""
    times = [0.0, *(event.t for event in recording.events)]
    return list(accumulate(min(pause, (now - last) / speed) for last, now in pairwise(times)))


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m romana_bus.lab.recordings.player DIR`: a server that plays DIR, as a process of its own.
    SIGUSR1 ends the delay."""
    parser = argparse.ArgumentParser(
        prog="python -m romana_bus.lab.recordings.player", description=main.__doc__
    )
    parser.add_argument("directory", type=Path, metavar="DIR")
    parser.add_argument("--port", type=int, default=0, help="0: any free one")
    parser.add_argument("--speed", type=float, default=1.0, help="times as fast; inf: at once")
    parser.add_argument("--pause", type=float, default=math.inf, help="longest one between two events, s")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before it begins")
    asked = parser.parse_args(arguments)
    if not asked.speed > 0:
        parser.error("--speed must be above 0")
    try:
        recording = Recording.load(asked.directory)
        uvloop.run(until_signalled(_serve(recording, asked)))
    except BadInput as error:
        parser.exit(error.exit_code, f"{printable_lines(str(error))}\n")
    except OSError as error:
        parser.exit(1, f"cannot listen on port {asked.port}: {printable(str(error))}\n")


async def _serve(recording: Recording, asked: argparse.Namespace) -> None:
    """Serve and play the recording until cancelled."""
    begin, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, begin.set)
    loop.call_later(asked.delay, begin.set)
    server = ApiServer(port=asked.port)
    fill(recording, server)
    async with server, asyncio.TaskGroup() as group:
        _say({"url": server.url})
        group.create_task(_play_out(recording, server, asked, begin))
        await asyncio.Event().wait()


async def _play_out(
    recording: Recording, server: ApiServer, asked: argparse.Namespace, begin: asyncio.Event
) -> None:
    await begin.wait()
    await play_events(recording, server, asked.speed, asked.pause)
    _say({"played": True, "resource_version": server.store.version})


def _say(message: dict[str, object]) -> None:
    sys.stdout.write(msgspec.json.encode(message).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
