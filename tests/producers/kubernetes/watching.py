"""A watch of one resource whose events are kept, for tests."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.errors import Failed
from romana_bus.events import (
    Event,
    PodSeen,
    ResourceListing,
)
from romana_bus.kubernetes.api import Api, Target
from romana_bus.lab.kubeapi import resources as lab
from romana_bus.producers.kubernetes.objects import PODS, Kind
from romana_bus.producers.kubernetes.pages import Limits
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.producers.kubernetes.resource_watch import ResourceWatch
from tests.kube_verbatim import Answer
from tests.lab.client import add

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.lab.apiserver import ApiServer

RECORDINGS = Path(__file__).parents[3] / "recordings"
QUICK = Limits(
    page=2, timeout=(60, 60), silence=5.0, backoff=(0.01, 0.05), burst=(5.0, 100.0), lists=0.01, look=0.01
)
#: What a server says that has no streaming list.
NO_STREAMING_LIST = Answer(b'{"code":422,"message":"sendInitialEvents is forbidden"}', status=422)


class Reported:
    """What was published, and a way to wait for it."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._more = asyncio.Event()

    async def publish(self, events: list[Event]) -> None:
        self.events += events
        self._more.set()

    async def until(self, condition: Callable[[list[str]], bool]) -> list[str]:
        while not condition(self.short()):
            self._more.clear()
            await self._more.wait()
        return self.short()

    async def until_reported(self, last: str) -> list[str]:
        return await self.until(lambda short: last in short)

    def short(self) -> list[str]:
        return [f"{type(event).__name__} {getattr(event, 'name', '')}".strip() for event in self.events]

    def pods(self) -> list[PodSeen]:
        """What was told about pods; beside it a mark may come at any time."""
        return [event for event in self.events if isinstance(event, PodSeen)]

    def reasons(self) -> list[str]:
        return [event.reason for event in self.events if isinstance(event, ResourceListing)]

    def entities(self) -> dict[str, Event]:
        """The newest of each subject."""
        return {event.subject(): event for event in self.events}


@contextlib.asynccontextmanager
async def watching(
    url: str, kind: Kind = PODS, state: Watched | None = None, limits: Limits = QUICK
) -> AsyncIterator[Reported]:
    reported, api = Reported(), Api(Target(server=url))
    await api.open()
    watch = ResourceWatch(api, kind, state or Watched(), reported.publish, limits)
    task = asyncio.ensure_future(watch.run())
    try:
        yield reported
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await api.close()


def pods(server: ApiServer, *names: str) -> None:
    add(server, "web", *names)


def delete(server: ApiServer, name: str) -> None:
    raw = server.store.get(lab.PODS, f"web/{name}")
    assert raw is not None
    old = msgspec.json.decode(raw)["metadata"]["resourceVersion"]
    version = server.store.version + 1
    gone = raw.replace(b'"resourceVersion":"%s"' % old.encode(), b'"resourceVersion":"%d"' % version)
    server.apply_recorded("DELETED", lab.PODS, gone)


async def refusal(server: ApiServer, kind: Kind = PODS) -> str:
    """With what a watch of `kind` ends before it has begun."""
    api = Api(Target(server=server.url))
    await api.open()
    with pytest.raises(Failed) as caught:
        await ResourceWatch(api, kind, Watched(), Reported().publish, QUICK).run()
    await api.close()
    return str(caught.value)
