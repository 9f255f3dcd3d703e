"""The kubelet's loops: they run the pods of the API server and of the directory of manifests.

Level-triggered: each pod has its own task, which compares desired and actual state after each change and,
with backoff, after each failure. So a kubelet that was killed continues: it finds its sandboxes on disk, and
after the first listing it removes those of pods that were deleted meanwhile. Pods are also torn down while
the API server is unreachable.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from romana_bus.errors import RomanaError
from romana_bus.kubernetes.client import Refused
from romana_bus.lab.kubeapi.resources import NODES, PODS
from romana_bus.lab.kubelet import node, pods, static
from romana_bus.lab.kubelet.containers import Containers
from romana_bus.tasks import stop, until_one_ends, until_set

if TYPE_CHECKING:
    from romana_bus.kubernetes.client import KubeClient
    from romana_bus.lab.kubelet.sandboxes import Sandbox, Sandboxes

log = structlog.get_logger(__name__)

Json = dict[str, Any]

#: Seconds between two checks: of the runtime while it is not ready, and while it is ready; of the manifests.
_READY_EVERY, _ALIVE_EVERY, _MANIFESTS_EVERY = 0.25, 10.0, 1.0
#: Backoff in seconds after a failure of a pod: the first, and the longest.
_BACKOFF = (0.5, 10.0)
#: The most sandboxes that are created or removed at the same time.
_AT_ONCE = 4


class Kubelet:
    """The kubelet of one node. `wanted`: uid -> pod, for all pods of this node, including static pods."""

    def __init__(self, client: KubeClient, who: node.Identity, sandboxes: Sandboxes) -> None:
        self._client, self._who, self._sandboxes = client, who, sandboxes
        self._containers = Containers(sandboxes.ground.directory)
        self._watched: set[int] = set()
        self.wanted: dict[str, Json] = {}
        self._mirrors: dict[tuple[str, str], Json] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> None:
        try:
            await until_one_ends([self._show_node(), self._watch(), self._read_manifests()])
        finally:
            for task in list(self._tasks.values()):
                await stop(task)

    # --- the node ---

    async def _show_node(self) -> None:
        """Register the node, and report regularly whether it can run pods."""
        shown = node.Readiness(False, "", "")
        while True:
            why = await asyncio.to_thread(self._sandboxes.why_not_ready)
            is_same = shown.reason and shown.ready == (not why)
            since = shown.since if is_same else _now()
            readiness = node.not_ready(why, since) if why else node.ready(since)
            if readiness != shown or readiness.ready:
                try:
                    await self._put_node(readiness)
                    shown = readiness
                except RomanaError as error:
                    log.warning("the node's status cannot be written", why=str(error))
                    await asyncio.sleep(1.0)
            await asyncio.sleep(_ALIVE_EVERY if readiness.ready else _READY_EVERY)

    async def _put_node(self, readiness: node.Readiness) -> None:
        there = await self._client.get(NODES, "", self._who.name)
        if there is None:
            await self._client.create(NODES, "", node.registration(self._who))
        elif not self._who.labels.items() <= (there["metadata"].get("labels") or {}).items():
            await self._client.patch(NODES, "", self._who.name, {"metadata": {"labels": self._who.labels}})
        status = {"status": node.status(self._who, readiness, _now())}
        await self._client.patch(NODES, "", self._who.name, status, subresource="status")

    # --- what is wanted ---

    async def _watch(self) -> None:
        mine = f"spec.nodeName={self._who.name}"
        async for kind, pod in self._client.watch(PODS, field_selector=mine):
            if kind == "SYNCED":
                self._look_at(*self._sandboxes.of, *self._containers.known)
            elif pods.is_mirror(pod):
                self._mirror_changed(kind, pod)
            elif kind == "DELETED":
                self.wanted.pop(pods.uid(pod), None)
                self._look_at(pods.uid(pod))
            else:
                self.wanted[pods.uid(pod)] = pod
                self._look_at(pods.uid(pod))

    def _mirror_changed(self, kind: str, pod: Json) -> None:
        if kind == "DELETED":
            self._mirrors.pop(pods.key(pod), None)
        else:
            self._mirrors[pods.key(pod)] = pod
        self._look_at(static.mirrored(pod))

    async def _read_manifests(self) -> None:
        directory, before = self._sandboxes.ground.directory / "manifests", set[str]()
        while True:
            manifests = static.read(directory, self._who.name, _now())
            for uid in before - manifests.keys():
                self.wanted.pop(uid, None)
            for uid in manifests.keys() - before:
                self.wanted[uid] = manifests[uid]
            self._look_at(*sorted(before ^ manifests.keys()))
            before = set(manifests)
            await self._drop_strange_mirrors()
            await asyncio.sleep(_MANIFESTS_EVERY)

    async def _drop_strange_mirrors(self) -> None:
        """Delete mirror pods whose manifest is gone, and those that were marked for deletion."""
        for (namespace, name), pod in sorted(self._mirrors.items()):
            if static.mirrored(pod) not in self.wanted or pods.is_ending(pod):
                try:
                    await self._client.delete(PODS, namespace, name, grace=0, uid=pods.uid(pod))
                except RomanaError as error:
                    log.warning("a mirror cannot be deleted", pod=f"{namespace}/{name}", why=str(error))

    # --- one pod ---

    def _look_at(self, *uids: str) -> None:
        for uid in uids:
            self._changed.setdefault(uid, asyncio.Event()).set()
            if uid not in self._tasks:
                self._tasks[uid] = asyncio.create_task(self._tend(uid), name=f"pod {uid}")

    async def _tend(self, uid: str) -> None:
        """Sync the pod until it is not wanted any more and its sandbox is removed."""
        changed, (delay, longest) = self._changed[uid], _BACKOFF
        try:
            while True:
                changed.clear()
                try:
                    await self._sync(uid)
                    delay, pause = _BACKOFF[0], None
                except (RomanaError, OSError) as error:
                    log.warning("pod not as wanted, tried again", uid=uid, why=str(error))
                    delay, pause = min(2 * delay, longest), delay
                if pause is None and uid not in self.wanted and uid not in self._sandboxes.of:
                    await asyncio.to_thread(self._containers.forget, uid)
                    return
                await until_set(changed, pause)
        finally:
            del self._tasks[uid], self._changed[uid]

    async def _sync(self, uid: str) -> None:
        """Create or remove the pod's sandbox, depending on whether the pod is wanted. Raises RomanaError."""
        pod, sandbox = self.wanted.get(uid), self._sandboxes.of.get(uid)
        going = pod is None or pods.is_ending(pod) or pods.is_over(pod)
        if sandbox and (going or not self._sandboxes.is_alive(sandbox)):
            self._containers.stop(uid)
            async with self._room:
                await asyncio.to_thread(self._sandboxes.remove, sandbox)
            sandbox = None
        if pod is None or going:
            if pod is not None and pods.is_ending(pod):
                await self._client.delete(PODS, *pods.key(pod), grace=0, uid=uid)
            return
        if sandbox is None:
            sandbox = await self._create(pod)
        for pid in await asyncio.to_thread(self._containers.start, pod, sandbox):
            self._watch_end(pid, uid)
        await self._show(pod, pods.running(pod, self._described(sandbox, pod)))

    def _watch_end(self, pid: int, uid: str) -> None:
        """Look at the pod when this process has ended."""
        if pid in self._watched:
            return
        loop = asyncio.get_running_loop()
        try:
            end = os.pidfd_open(pid)
        except ProcessLookupError:  # started by an earlier kubelet, and over since
            self._look_at(uid)
            return
        self._watched.add(pid)

        def ended() -> None:
            loop.remove_reader(end)
            os.close(end)
            self._watched.discard(pid)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # only if it is our child: not after a restart
            self._look_at(uid)

        loop.add_reader(end, ended)

    async def _create(self, pod: Json) -> Sandbox:
        async with self._room:
            try:
                return await asyncio.to_thread(self._sandboxes.create, pod, _now())
            except RomanaError as error:
                why = error
        shown = (pod.get("status") or {}).get("startTime") or _now()
        await self._show(pod, pods.waiting(pod, self._sandboxes.ground.host, shown, str(why)))
        raise why

    def _described(self, sandbox: Sandbox, pod: Json) -> pods.Running:
        ended = self._containers.ended(pod)
        host = self._sandboxes.ground.host
        return pods.Running(sandbox.addresses, host, sandbox.id, sandbox.since, ended)

    async def _show(self, pod: Json, status: Json) -> None:
        """Write the pod's status; for a static pod, that of its mirror pod."""
        shown = await self._mirror_of(pod) if self._is_static(pod) else self.wanted.get(pods.uid(pod), pod)
        if pods.says(shown, status):
            return
        body = {"metadata": {"uid": pods.uid(shown)}, "status": status}
        try:
            await self._client.patch(PODS, *pods.key(shown), body, subresource="status")
        except Refused as refused:
            if refused.code not in (404, 409):  # deleted or recreated: the watch will report it
                raise

    def _is_static(self, pod: Json) -> bool:
        return "kubernetes.io/config.source" in (pod["metadata"].get("annotations") or {})

    async def _mirror_of(self, pod: Json) -> Json:
        there = self._mirrors.get(pods.key(pod))
        if there is not None and static.mirrored(there) == pods.uid(pod) and not pods.is_ending(there):
            return there
        return await self._client.create(PODS, pods.key(pod)[0], static.mirror(pod))


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
