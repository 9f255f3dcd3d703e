"""The watcher reads what a real API server sent, cut into chunks of every size."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from romana_bus.events import (
    Fact,
    NodeSeen,
)
from romana_bus.lab.kubeapi import resources as lab
from romana_bus.lab.recordings.player import Recording, final, play
from romana_bus.producers.kubernetes import absence
from romana_bus.producers.kubernetes.objects import BUILT_IN, Kind
from tests.kube_verbatim import VerbatimServer, every, randomly, recorded
from tests.lab.apiserver import ApiServer
from tests.producers.kubernetes.watching import NO_STREAMING_LIST, QUICK, RECORDINGS, Reported, watching

CHUNKINGS = {"1": every(1), "7": every(7), "small": randomly(1), "large": randomly(2, 50_000)}


def living(reported: Reported, resource: lab.Resource) -> set[str]:
    """The keys of the published objects that exist."""
    facts = [
        event for event in reported.entities().values() if isinstance(event, Fact) and not event.tombstone
    ]
    return {resource.key(*fact.key().split("/")) for fact in facts}


#: The pods are a megabyte: in single bytes they would take a minute.
SERVED = [(kind, cut) for kind in BUILT_IN for cut in CHUNKINGS if (kind.name, cut) != ("pods", "1")]


@pytest.mark.parametrize(("kind", "cut"), SERVED, ids=[f"{kind.name} {cut}" for kind, cut in SERVED])
async def test_recordings_served_byte_by_byte(kind: Kind, cut: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pieces, the log ends with what the real cluster had at the end. A day's deletions come in
    a moment, and nobody can be asked about them."""
    monkeypatch.setattr(absence, "AT_ONCE", 1000)
    resource = next(one for one in lab.BUILT_IN if one.plural == kind.plural)
    ended = set(final(Recording.load(RECORDINGS))[resource])

    script = [NO_STREAMING_LIST, *recorded(RECORDINGS / f"{kind.plural}.jsonl", CHUNKINGS[cut])]
    unasked = QUICK._replace(look=60.0)  # the script has no other answers
    async with VerbatimServer(script) as server, watching(server.url, kind, limits=unasked) as reported:
        await reported.until(lambda _: living(reported, resource) == ended)


async def test_the_whole_recording_played_fast_by_the_small_server() -> None:
    recording = Recording.load(RECORDINGS)
    async with ApiServer() as server, contextlib.AsyncExitStack() as stack:
        playing = asyncio.ensure_future(play(recording, server, speed=100.0))
        await asyncio.sleep(0)  # it is filled
        tellers = {
            kind.plural: await stack.enter_async_context(watching(server.url, kind)) for kind in BUILT_IN
        }
        await playing
        for resource, objects in final(recording).items():
            reported, ended = tellers[resource.plural], set(objects)
            while living(reported, resource) != ended:
                await reported.until(lambda _: True)
                await asyncio.sleep(0.005)
        drained = tellers["nodes"].entities()["kube.node.-.ip-10-3-0-6_ec2_internal"]
        assert isinstance(drained, NodeSeen)
        assert drained.addresses == ("10.3.0.66",)
