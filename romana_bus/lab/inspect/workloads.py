"""Creates and deletes pods through the API server, and waits until they run, or are gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from romana_bus.errors import Failed
from romana_bus.kubernetes.client import Refused
from romana_bus.lab.kubeapi.resources import NAMESPACES, PODS
from romana_bus.lab.kubelet import pods
from romana_bus.lab.spec import ZONE_LABEL

if TYPE_CHECKING:
    from romana_bus.kubernetes.client import KubeClient

Json = dict[str, Any]

_LOOK_EVERY = 0.05


def pod_object(name: str, metadata: Json, zone: str = "", node: str = "") -> Json:
    spec: Json = {"containers": [{"name": "main", "image": "romana-bus.io/none"}]}
    if zone:
        spec["nodeSelector"] = {ZONE_LABEL: zone}
    if node:
        spec["nodeName"] = node
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


async def create(client: KubeClient, wanted: list[Json]) -> None:
    """Create these pods, and their namespaces if they are missing. Raises Failed."""
    for namespace in sorted({pods.key(pod)[0] for pod in wanted}):
        await _namespace(client, namespace)
    for pod in wanted:
        await client.create(PODS, pods.key(pod)[0], pod)


async def _namespace(client: KubeClient, name: str) -> None:
    if await client.get(NAMESPACES, "", name) is None:
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        try:
            await client.create(NAMESPACES, "", body)
        except Refused as refused:
            if refused.code != 409:  # another client created it first
                raise


async def until_running(client: KubeClient, keys: list[tuple[str, str]], wait: float) -> list[Json]:
    """Wait until all pods run; returns them. `keys`: (namespace, name). `wait`: seconds. Raises Failed with
    the reasons if one does not run in time."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + wait
    while True:
        known = {pods.key(pod): pod for pod in await client.objects(PODS)}
        running = [known[key] for key in keys if key in known]
        late = [key for key in keys if key not in known or not _runs(known[key])]
        if not late:
            return running
        if loop.time() > ends_at:
            raise Failed(_why_late(late, known, wait))
        await asyncio.sleep(_LOOK_EVERY)


def _runs(pod: Json) -> bool:
    status = pod.get("status", {})
    return status.get("phase") == "Running" and bool(status.get("podIP"))


def _why_late(late: list[tuple[str, str]], known: dict[tuple[str, str], Json], wait: float) -> str:
    reasons: dict[str, list[str]] = {}
    for key in late:
        reasons.setdefault(_why(known.get(key)), []).append("/".join(key).removeprefix("default/"))
    said = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items())
    return f"not running after {wait:g} s: {said}"


def _why(pod: Json | None) -> str:
    if pod is None:
        return "deleted"
    if not pod["spec"].get("nodeName"):
        return pods.why_waiting(pod) or "on no node: no node fits, or none is ready"
    return pods.why_waiting(pod) or f"its kubelet on {pod['spec']['nodeName']} says nothing of it"


async def delete(client: KubeClient, going: list[Json], wait: float = 30.0) -> None:
    """Delete pods and wait until they are gone. A pod recreated under the same name counts as deleted.
    `wait`: seconds. Raises Failed."""
    for pod in going:
        await client.delete(PODS, *pods.key(pod), uid=pods.uid(pod))
    uids = {pods.uid(pod) for pod in going}
    ends_at = asyncio.get_running_loop().time() + wait
    while left := {pods.key(pod) for pod in await client.objects(PODS) if pods.uid(pod) in uids}:
        if asyncio.get_running_loop().time() > ends_at:
            names = ", ".join("/".join(key) for key in sorted(left))
            raise Failed(f"still there after {wait:g} s: {names}; is their node off?")
        await asyncio.sleep(_LOOK_EVERY)
