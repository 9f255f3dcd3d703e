"""The stand-in scheduler: binds pods to nodes, for clusters without a kube-scheduler.

Reads pods and nodes. Writes pods/binding and, if no node fits, the pod's condition PodScheduled. It keeps no
state besides two watches, so it may be killed at any time, and a second one only causes conflicts. After
every change it decides again from all pods and nodes, so a pod that fits no node is bound as soon as one
fits. A refusal means that another writer was faster: the watch shows the result. A request without an answer
is repeated.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import structlog

from romana_bus.kubernetes.client import Refused, Unreachable
from romana_bus.lab.kubeapi.resources import NODES, PODS
from romana_bus.lab.scheduler.choose import choose, stated_reason
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from romana_bus.kubernetes.client import KubeClient
    from romana_bus.lab.kubeapi.resources import Resource
    from romana_bus.lab.scheduler.choose import Decision

log = structlog.get_logger(__name__)

Json = dict[str, Any]

#: Seconds before a failed request is retried.
_AGAIN = 1.0

#: Another writer was faster: the pod was deleted (404), or bound (409).
_OVERTAKEN = (404, 409)


class Scheduler:
    """`await Scheduler(client).run()`, until cancelled."""

    def __init__(self, client: KubeClient) -> None:
        self._client = client
        self._seen: dict[Resource, dict[tuple[str, str], Json]] = {PODS: {}, NODES: {}}
        self._synced: set[Resource] = set()
        self._changed = asyncio.Event()
        self._reported: dict[str, str] = {}  # uid -> the last reason that we wrote

    async def run(self) -> None:
        await until_one_ends([self._watch(PODS), self._watch(NODES), self._decide()])

    async def _watch(self, resource: Resource) -> None:
        seen = self._seen[resource]
        async for kind, item in self._client.watch(resource):
            match kind:
                case "SYNCED":
                    self._synced.add(resource)
                case "DELETED":
                    seen.pop(_key(item), None)
                    self._reported.pop(item["metadata"].get("uid", ""), None)
                case _:
                    seen[_key(item)] = item
            self._changed.set()

    async def _decide(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            if len(self._synced) < len(self._seen):
                continue  # one of the two listings is not complete yet
            for decision in choose(self._seen[PODS].values(), self._seen[NODES].values()):
                try:
                    await self._carry_out(decision)
                except (Refused, Unreachable) as error:
                    self._failed(decision, error)

    async def _carry_out(self, decision: Decision) -> None:
        """Bind the pod, or write why no node fits. Raises Refused, Unreachable."""
        key = (decision.namespace, decision.name)
        pod = self._seen[PODS].get(key)
        if pod is None or pod["metadata"].get("uid", "") != decision.uid:
            return  # it was deleted meanwhile
        if decision.node:
            await self._client.bind(*key, decision.node, uid=decision.uid)
            self._placed(key, decision)
        elif decision.why not in (self._reported.get(decision.uid), stated_reason(pod)):
            await self._client.patch(
                PODS, *key, _unschedulable(decision.why), kind="strategic", subresource="status"
            )
            self._reported[decision.uid] = decision.why
            log.info("unschedulable", pod="/".join(key), why=decision.why)

    def _placed(self, key: tuple[str, str], decision: Decision) -> None:
        """Record the binding at once: the next decision may come before the watch shows it."""
        log.info("scheduled", pod="/".join(key), node=decision.node)
        pod = self._seen[PODS].get(key)
        if pod is not None and pod["metadata"].get("uid", "") == decision.uid:
            spec = {**(pod.get("spec") or {}), "nodeName": decision.node}
            self._seen[PODS][key] = pod | {"spec": spec}

    def _failed(self, decision: Decision, error: Refused | Unreachable) -> None:
        pod = f"{decision.namespace}/{decision.name}"
        if isinstance(error, Refused) and error.code in _OVERTAKEN:
            log.info("overtaken", pod=pod, why=str(error))
            return
        log.warning("not scheduled", pod=pod, why=str(error))
        asyncio.get_running_loop().call_later(_AGAIN, self._changed.set)


def _unschedulable(why: str) -> Json:
    """The status with the condition PodScheduled false. Its message takes the place of an event for
    `kubectl describe`."""
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"status": {"message": why, "conditions": [condition | {"lastTransitionTime": now}]}}


def _key(item: Json) -> tuple[str, str]:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
