"""Findings about nodes, pods and sandbox requests that only the log has, or only the API server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.ipam.audit.finding import Finding, wants
from romana_bus.ipam.model.uids import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam.audit.finding import Snapshot
    from romana_bus.ipam.model.state import State

CHANGED = "changed, and the log does not know"


def missed(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    """Yields the nodes and pods that the log does not have as the API server shows them."""
    for name in sorted({name for name, host in state.hosts.items() if host.seen} | set(snapshot.nodes)):
        if snapshot.node_since(state, name):
            continue
        host, node = state.hosts.get(name), snapshot.nodes.get(name)
        text, seen = _difference(host.uid if host and host.seen else "", node.uid if node else ""), ""
        if not text and host and node and (host.addresses, host.labels) != (node.addresses, node.labels):
            text, seen = CHANGED, f"{node.addresses} {sorted(node.labels.items())}"
        if text:
            yield Finding(kind="missed", node=name, resource="nodes", seen=seen, text=f"node {name} {text}")
    for key in sorted(set(state.pods) | set(snapshot.pods)):
        if snapshot.pod_since(state, key):
            continue
        pod, shown = state.pods.get(key), snapshot.pods.get(key)
        text, seen = _difference(pod.uid if pod else "", shown.kubelet_uid if shown else ""), ""
        if not text and pod and shown and (pod.node, not pod.unfit) != (shown.node, wants(shown)):
            text, seen = CHANGED, f"{shown.phase} {shown.node}"
        if text:
            uid = shown.kubelet_uid if shown else pod.uid if pod else ""
            yield Finding(
                kind="missed", pod=key, uid=uid, resource="pods", seen=seen, text=f"pod {key} {text}"
            )


def _difference(log: str, api: str) -> str:
    """How the log's uid and the API server's differ; '' as a uid means that there is none."""
    if log == api:
        return ""
    if not log:
        return "is in the API server and not on the log"
    return (
        "was replaced by a new one, and the log does not know"
        if api
        else "is on the log and not in the API server"
    )


def without(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    """Yields the pods that need an address and have none."""
    for key, pod in sorted(snapshot.pods.items()):
        if not wants(pod) or snapshot.pod_since(state, key):
            continue
        host = state.hosts.get(pod.node)
        record = host.records.get(key) if host else None
        if record is None or record.block is None:
            reason = (record.reason if record else "") or "nothing was decided for it"
            yield Finding(
                kind="without",
                node=pod.node,
                pod=key,
                uid=pod.kubelet_uid,
                text=f"{key} on {pod.node}: {reason}",
            )


def requested_nowhere(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    """Yields the sandbox requests on nodes that are gone: no kubelet is left to remove them."""
    for key, nodes in sorted(state.sandboxes.items()):
        for name, box in sorted(nodes.items()):
            host = state.hosts.get(name)
            if name in snapshot.nodes or (host and host.seen) or snapshot.node_since(state, name):
                continue
            text = f"a sandbox for {key} is requested on {name}, which is not a node of the cluster"
            yield Finding(kind="sandbox", node=name, pod=key, uid=text_of(box.ident), text=text)
