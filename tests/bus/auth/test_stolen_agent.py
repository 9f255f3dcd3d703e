"""What somebody can do who has stolen the credentials of one node's agent, while IPAM runs: nothing beyond
that node."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.auth.permissions import AGENT, DECIDE, UP
from romana_bus.consumers import ipam
from romana_bus.events import (
    IPAM,
    KUBE,
    NODE,
    ROLES,
    AddressAssigned,
    NodeSeen,
    PodSeen,
    ResourceSynced,
    SandboxRemoved,
    SandboxRequested,
    codec,
)
from romana_bus.ipam import Settings
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.loop import run_decider
from romana_bus.tasks import stop
from tests.bus.auth import site
from tests.bus.auth.site import CLUSTER, WHO, Raw

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from romana_bus.bus.jetstream.store import JetStream

P = f"romana.{CLUSTER}."
VICTIM: dict[str, Any] = {"namespace": "web", "name": "a", "uid": "uid-a"}


class Cluster:
    """Nodes n1 and n2, a pod on n2, IPAM, and a thief with the key of n1's agent."""

    def __init__(self, store: JetStream, thief: Raw) -> None:
        self.store, self.thief = store, thief

    async def address(self, node: str, name: str = "a") -> str:
        """The pod's address on the node, once it has one."""
        while True:
            newest = await self.store.newest(IPAM, f"ipam.address.{node}.web.{name}")
            event = codec.decode(newest.body) if newest else None
            if isinstance(event, AddressAssigned):
                return event.addresses[0].address
            await asyncio.sleep(0.02)

    async def ends(self) -> dict[str, int]:
        return {role: (await self.store.tail(role)).last for role in ROLES}

    async def settled(self) -> None:
        """IPAM has read everything: it answers a request that comes after."""
        event = SandboxRequested(node="n1", namespace="web", name="last", uid="uid-last", sandbox="s")
        assert not (await self.thief.ask(P + event.subject(), codec.encode(event))).refused
        await self.address("n1", "last")


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    with site.authorized(tmp_path) as server:
        auth = tmp_path / "auth"
        async with contextlib.AsyncExitStack() as stack:
            store = await stack.enter_async_context(site.opened(server, auth, UP))
            nodes = [
                NodeSeen(
                    name=name,
                    uid=f"uid-{name}",
                    addresses=(f"10.0.0.{number}",),
                    resource_version=str(number),
                )
                for number, name in enumerate(("n1", "n2"), 1)
            ]
            pod = PodSeen(**VICTIM, node="n2", resource_version="3")
            marks = [
                ResourceSynced(resource=resource, resource_version="4", count=count)
                for resource, count in (("nodes", 2), ("pods", 1))
            ]
            for event in (*nodes, pod, *marks):
                await store.publish(KUBE, outgoing(event, "", store.clock.now(), store.history))
            ipam_store = await stack.enter_async_context(site.opened(server, auth, DECIDE))
            decider = ipam.decider(Settings(block_owner="host", cooldown=0, warm_blocks=1))
            deciding = asyncio.ensure_future(run_decider(ipam_store, decider, "test"))
            stack.push_async_callback(stop, deciding)
            thief = await Raw.connect(server.url, auth, WHO[AGENT])
            stack.push_async_callback(thief.close)
            yield Cluster(store, thief)


def on(node: str, kind: Any = SandboxRequested, **more: str) -> bytes:
    return codec.encode(kind(**{**VICTIM, "node": node, "sandbox": "evil", **more}))


async def test_it_neither_moves_nor_ends_the_address_of_a_pod_elsewhere(cluster: Cluster) -> None:
    before = await cluster.address("n2")
    own = f"{P}node.n1.cni.web.a"
    for body in (
        on("n2"),
        on("n2", SandboxRemoved),
        on("n1"),
        on("n1", SandboxRemoved),
        on("n1", uid="other"),
    ):
        assert not (await cluster.thief.ask(own, body)).refused  # its own subject: stored
    for subject in (f"{P}node.n2.cni.web.a", f"{P}ipam.address.n2.web.a", f"{P}spec.disowned.n2.web.a"):
        assert (await cluster.thief.ask(subject, on("n2", SandboxRemoved))).refused
    await cluster.settled()
    assert await cluster.address("n2") == before


async def test_no_answer_of_the_server_reaches_another_stream(cluster: Cluster) -> None:
    """Whoever asks says where the answer goes, and nats-server looks at no permission for that."""
    await cluster.address("n2")
    await cluster.settled()
    before, thief, stream = await cluster.ends(), cluster.thief, f"ROMANA_{CLUSTER}_IPAM"
    forged = codec.encode(PodSeen(**VICTIM, node="n1", resource_version="99"))
    targets = [
        f"{P}{subject}" for subject in ("kube.pod.web.a", "ipam.leader", "spec.x", "node.n2.cni.web.a")
    ]
    create = f"$JS.API.CONSUMER.CREATE.{stream}.m.{P}ipam.map.>"
    config = {"name": "m", "filter_subject": f"{P}ipam.map.>", "ack_policy": "none"}
    asked = await thief.ask(create, json.dumps({"stream_name": stream, "config": config}).encode())
    assert not asked.refused
    for target in targets:
        await thief.tell(f"{P}node.n1.x", forged, target)  # an acknowledgement
        await thief.tell("$JS.API.INFO", b"", target)
        await thief.tell(f"$JS.API.STREAM.MSG.GET.{stream}", b'{"seq":1}', target)
        await thief.tell(f"$JS.API.STREAM.MSG.GET.ROMANA_{CLUSTER}_NODE", b'{"seq":1}', target)
        await thief.tell(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.m", b"5", target)
        push = config | {"name": "p", "deliver_subject": target}
        await thief.ask(
            create.replace(".m.", ".p."), json.dumps({"stream_name": stream, "config": push}).encode()
        )
        headers = {"Nats-Trace-Dest": target}
        await thief.tell(f"{P}node.n1.x", forged, "", headers)
    await cluster.settled()
    after = await cluster.ends()
    for role in (KUBE, "SPEC"):
        assert after[role] == before[role], role
    assert await cluster.store.newest(NODE, "node.n2.cni.web.a") is None
    assert await cluster.store.newest(KUBE, "kube.pod.web.a") is not None


@pytest.mark.parametrize(
    "headers",
    [
        {"Nats-Rollup": "all"}, {"Nats-Rollup": "sub"}, {"Nats-Expected-Last-Sequence": "999999"},
        {"Nats-Expected-Stream": f"ROMANA_{CLUSTER}_IPAM"}, {"Nats-Expected-Last-Msg-Id": "none"},
        {"Nats-Expected-Last-Subject-Sequence": "77", "Nats-Expected-Last-Subject-Sequence-Subject": "x.y"},
        {"Nats-Schedule": "@at 2020-01-01T00:00:00Z", "Nats-Schedule-Target": f"{P}kube.pod.web.a"},
        {"Nats-Incr": "1"},
    ],
    ids=lambda headers: next(iter(headers)),
)  # fmt: skip
async def test_headers_that_ask_for_more_than_storing_are_refused(
    cluster: Cluster, headers: dict[str, str]
) -> None:
    await cluster.address("n2")
    before = await cluster.ends()
    answer = json.loads((await cluster.thief.ask(f"{P}node.n1.x", b"{}", headers)).answer)
    assert answer.get("error"), answer
    assert (await cluster.ends())[NODE] == before[NODE]


async def test_a_batch_cannot_carry_a_foreign_subject(cluster: Cluster) -> None:
    before = await cluster.ends()
    batch = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "1"}
    assert (await cluster.thief.tell(f"{P}node.n2.x", b"{}", "", batch)) != ""
    last = {"Nats-Batch-Id": "b", "Nats-Batch-Sequence": "2", "Nats-Batch-Commit": "1"}
    answer = json.loads((await cluster.thief.ask(f"{P}node.n1.x", b"{}", last)).answer)
    assert answer.get("error"), answer
    assert (await cluster.ends())[NODE] == before[NODE]


async def test_it_ends_nobody(cluster: Cluster) -> None:
    """Consumers of others, leases, and messages that are too large or no events: IPAM goes on."""
    before, thief = await cluster.address("n2"), cluster.thief
    listed = await cluster.store.api(f"CONSUMER.LIST.ROMANA_{CLUSTER}_KUBE", {"offset": 0})
    for consumer in listed["consumers"]:
        for verb in ("DELETE", "PAUSE", "INFO", "MSG.NEXT", "RESET", "UNPIN"):
            subject = f"$JS.API.CONSUMER.{verb}.ROMANA_{CLUSTER}_KUBE.{consumer['name']}"
            assert (await thief.ask(subject)).refused, subject
    for lease in ("ipam", "kube", "other"):
        assert (await thief.ask(f"{P}lease.{lease}", b"thief")).refused
    for body in (
        b"x" * 900_000,
        b"[" * 100_000,
        b"\xff" * 1000,
        b'{"type":"LeaderElected","stream":"IPAM","term":99,"holder":"t"}',
    ):
        assert not (await thief.ask(f"{P}node.n1.cni.web.x", body)).refused
    await cluster.settled()
    assert await cluster.address("n2") == before
