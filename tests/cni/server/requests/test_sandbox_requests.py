"""Sandbox events on the log: static pods, pods of one name, an address that goes to another pod."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from romana_bus.bus.memory import MemoryStore
from romana_bus.cni import spec
from romana_bus.cni.server.attachments import Attachment, Attachments
from romana_bus.cni.server.journal import Journal
from romana_bus.cni.server.outbox import Outbox
from romana_bus.cni.server.sandbox_requests import REMEMBERED, SandboxRequests
from romana_bus.cni.server.threads import Threads
from romana_bus.events import NODE, SandboxRemoved, SandboxRequested, codec
from romana_bus.tasks import stop
from tests.cni.calling import pings, sh, until
from tests.cni.kubelet import OTHER, STATIC

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from tests.cni.calling import Pod
    from tests.cni.node import Node


async def no_pod_runs(_: spec.Pod) -> bool:
    return False


def published(node: Node, pod: Pod, kind: type[Any]) -> Any:
    """Waits until the newest event of the pod's name is of this sandbox and of that type; returns it."""

    def newest() -> Any:
        found = node.newest_of(pod)
        return found if type(found) is kind and found.sandbox == pod.container else None

    return until(newest, f"{kind.__name__} of {pod.container}", node.log)


def test_a_static_pod_holds_an_address_that_is_known_already(node: Node) -> None:
    """Its mirror may be deleted at the API while it runs; a pod of the API asks for nothing."""
    static, ordinary = node.pod("static", STATIC), node.pod()
    for pod in (static, ordinary):
        node.decided(pod, *node.fresh())
    node.until_read()
    node.added(static, timeout=0)  # it waits for nothing
    assert published(node, static, SandboxRequested).uid == STATIC
    node.added(ordinary)
    assert node.newest_of(ordinary) is None
    node.delete(static)
    published(node, static, SandboxRemoved)


def test_a_static_pod_whose_address_is_known_starts_without_the_log(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod = node.pod("static", STATIC)
    four, _ = node.decided(pod, *node.fresh())
    node.until_read()
    node.nats.kill()
    node.added(pod, timeout=0)
    assert pings(node.netns, four)
    node.nats.start()
    published(node, pod, SandboxRequested)


def test_address_still_attached_to_another_pod_is_waited_for(node: Node) -> None:
    old, new = node.pod("sticky", "uid-old"), node.pod("sticky", "uid-new")
    four, six = node.decided(old, *node.fresh())
    before = node.added(old)
    node.decided(new, four, six)  # by its own request, the address is the successor's
    node.until_read()
    node.add(new, timeout=0).fails(11, four, "uid-old", old.container, "removed first")
    assert "eth0" not in new.links()
    assert {one.container for one in node.attached()} & {old.container, new.container} == {old.container}
    assert node.routes()[four] == before["interfaces"][0]["name"]
    assert pings(node.netns, four)
    node.delete(old)
    after = node.added(new)
    assert node.routes()[four] == node.routes()[six] == after["interfaces"][0]["name"]
    assert pings(node.netns, six)


def test_only_one_of_two_pods_attaches_an_address(node: Node) -> None:
    pods, both = [node.pod(), node.pod()], node.fresh()
    for pod in pods:
        node.decided(pod, *both)
    node.until_read()
    with ThreadPoolExecutor(2) as threads:
        answers = list(threads.map(node.add, pods))
    codes = [one.json["code"] if one.code else 0 for one in answers]
    assert sorted(codes) == [0, 11], answers
    node.delete(pods[codes.index(0)])
    node.added(pods[codes.index(11)])
    assert pings(node.netns, both[0])


def test_removal_of_one_sandbox_keeps_the_request_of_another_uid(node: Node) -> None:
    old, new = node.pod("two", STATIC), node.pod("two", OTHER)
    node.decided(old, *node.fresh())
    node.added(old)
    published(node, old, SandboxRequested)
    node.decided(new, *node.fresh())
    node.until_read()
    node.added(new)
    published(node, new, SandboxRequested)
    node.delete(old)
    assert published(node, new, SandboxRequested).uid == OTHER
    node.delete(new)
    published(node, new, SandboxRemoved)


def test_failed_request_republishes_the_request_of_the_running_sandbox(node: Node) -> None:
    """Or the log would keep the request of a sandbox that was never made."""
    old, new = node.pod("back", STATIC), node.pod("back", OTHER)
    node.decided(old, *node.fresh())
    node.added(old)
    published(node, old, SandboxRequested)
    node.add(new, timeout=0.2).fails(11, "default/back", STATIC, OTHER)
    published(node, old, SandboxRequested)
    node.delete(old)
    published(node, old, SandboxRemoved)


def test_address_of_a_sandbox_that_vanished_without_del_is_free(node: Node) -> None:
    """Its namespace was removed, and no DEL ever came."""
    old, new = node.pod("lost", "uid-old"), node.pod("found", "uid-new")
    both = node.decided(old, *node.fresh())
    host = node.added(old)["interfaces"][0]["name"]
    node.decided(new, *both)
    node.until_read()
    node.add(new, timeout=0).fails(11, "removed first")
    sh("ip", "netns", "del", old.netns)
    until(lambda: host not in node.links(), "its link has gone")
    node.added(new)
    assert pings(node.netns, both[0])
    assert old.container not in {one.container for one in node.attached()}


@contextlib.asynccontextmanager
async def serving(
    directory: Path, store: MemoryStore
) -> AsyncIterator[tuple[SandboxRequests, Outbox, Attachments]]:
    """With an outbox that goes on."""
    await store.prepare([NODE])
    threads, attachments = Threads(), Attachments(directory / "attachments")
    outbox = Outbox("n1", Journal(directory / "journal"), threads)
    sandbox_requests = SandboxRequests("n1", attachments, outbox, no_pod_runs)
    task = asyncio.create_task(outbox.run(store))
    try:
        yield sandbox_requests, outbox, attachments
    finally:
        await stop(task)
        threads.close()


def attachment(pod: spec.Pod, container: str) -> Attachment:
    attached = spec.Attached(container, "eth0")
    return Attachment(
        network="pods", attached=attached, netns="/n", pod=pod, addresses=("10.0.0.1",), requested=True
    )


WEB = spec.Pod("ns", "web", "uid-web")


async def test_pod_with_a_request_on_the_log_is_known_as_requested(tmp_path: Path) -> None:
    """Where neither disk knows of it, as after a reboot."""
    store = MemoryStore()
    async with serving(tmp_path / "before", store) as (sandbox_requests, outbox, _):
        request = sandbox_requests.of(WEB, "one")
        await outbox.put(request)
        await outbox.stored(request)
    async with serving(tmp_path / "after", store) as (sandbox_requests, outbox, _):
        assert WEB not in sandbox_requests
        await outbox.requests()
        assert WEB in sandbox_requests
        assert spec.Pod("ns", "web", "another") not in sandbox_requests


async def test_sandbox_being_removed_is_not_a_leftover(tmp_path: Path) -> None:
    """A leftover's removal would be delayed, and this one is published at once."""
    store = MemoryStore()
    async with serving(tmp_path, store) as (sandbox_requests, outbox, attachments):
        request, one = sandbox_requests.of(WEB, "one"), attachment(WEB, "one")
        attachments.put(one)
        await outbox.put(request)
        await outbox.stored(request)
        with sandbox_requests.ending(one):
            await sandbox_requests.resend()
            assert outbox.waiting() == []
            await sandbox_requests.end(WEB, "one", was_made=True)
        while outbox.waiting():
            await asyncio.sleep(0.001)
        assert await outbox.requests() == []


async def test_outdated_journal_file_is_ignored(tmp_path: Path) -> None:
    """The end of a sandbox, whose successor runs; and the request of one that has ended."""
    store, idle = MemoryStore(), spec.Pod("ns", "idle", "uid-idle")
    for number, (kind, pod) in enumerate(((SandboxRemoved, WEB), (SandboxRequested, idle)), 1):
        event = kind(node="n1", namespace="ns", name=pod.name, uid=pod.uid, sandbox="one")
        (tmp_path / "journal").mkdir(exist_ok=True)
        (tmp_path / "journal" / f"{number:016}.json").write_bytes(codec.encode(event))
    Attachments(tmp_path / "attachments").put(attachment(WEB, "two"))
    async with serving(tmp_path, store) as (sandbox_requests, outbox, _):
        assert outbox.waiting() == []
        await sandbox_requests.resend()
        while outbox.waiting():
            await asyncio.sleep(0.001)
        assert [request.sandbox for request in await outbox.requests()] == ["two"]
    assert not list((tmp_path / "journal").iterdir())


def test_requests_of_running_pods_are_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, threads = time.monotonic(), Threads()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    attachments = Attachments(tmp_path / "attachments")
    sandbox_requests = SandboxRequests(
        "n1", attachments, Outbox("n1", Journal(tmp_path / "journal"), threads), no_pod_runs
    )
    names = ("runs", "idle", "again")
    runs, idle, again = (spec.Pod("ns", name, f"uid-{name}") for name in names)
    kept = Attachment(
        network="pods", attached=spec.Attached("one", "eth0"), netns="/n", pod=runs, requested=True
    )
    attachments.put(kept)
    for pod in (runs, idle, again):
        sandbox_requests.of(pod, "one")
    for _ in range(2):
        now += REMEMBERED
        sandbox_requests.of(again, "one")
        sandbox_requests.forget_old()
    assert [pod in sandbox_requests for pod in (runs, idle, again)] == [True, False, True]
    attachments.drop(kept.attached)
    for _ in range(2):
        now += REMEMBERED
        sandbox_requests.forget_old()
    assert [pod in sandbox_requests for pod in (runs, idle, again)] == [False, False, False]
    threads.close()
