"""The audit: compares the log with the API server and with the nodes' kernels. Pure.

| kind | finding |
|---|---|
| nobody | an address whose pod is not in the API server, has finished, or was replaced |
| without | a pod that needs an address and has none |
| owners | one address with two owners |
| differs | a pod that reports another address than the one that was assigned |
| outside | a block in no group, or kept empty in a group that its node has left |
| overlap | blocks that overlap |
| count | an address outside its block, in a block of another node, or counts that do not agree |
| missed | a node or pod that only the log or only the API server has, or that differs between them |
| sandbox | a sandbox request on a node that is gone: nobody else removes it |
| kernel | an address that only the node's kernel has, or only the log |
| node | an address of a pod that is a node's, a gateway's, or that of the log or the API server |
| underlay | a node with pods in a network that overlaps what the node lives on |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.ipam.audit.addresses import held_by_nobody, with_two_owners
from romana_bus.ipam.audit.blocks import miscounted, misplaced
from romana_bus.ipam.audit.finding import KINDS, Finding, Snapshot
from romana_bus.ipam.audit.kernels import covers, wired_otherwise
from romana_bus.ipam.audit.missing import missed, requested_nowhere, without
from romana_bus.ipam.audit.underlay import lived_on
from romana_bus.ipam.model.state import NEEDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.events import Wired
    from romana_bus.ipam.model.state import State

__all__ = ["KINDS", "Finding", "Snapshot", "covers", "doubt", "findings", "unsettled", "wired_otherwise"]


def doubt(state: State, snapshot: Snapshot) -> str:
    """Why this snapshot is not believed, or ''.

    An empty snapshot, or the one of another cluster, would free all addresses. A cluster whose nodes were all
    replaced is recognised by its pods."""
    ours = {host.uid for host in state.hosts.values() if host.seen}
    theirs = {node.uid for node in snapshot.nodes.values()}
    if ours and not theirs:
        return f"the API server shows no node, and the log has {len(ours)}: too few to be believed"
    pods = state.pods
    same = (key in pods and pods[key].uid == pod.kubelet_uid for key, pod in snapshot.pods.items())
    if ours and not ours & theirs and not any(same):
        return "the API server belongs to another cluster: it has none of the log's nodes"
    for what, known, shown in (
        ("nodes", len(ours), len(theirs)),
        ("pods", len(state.pods), len(snapshot.pods)),
    ):
        if known > 10 and shown < known / 2:
            return f"the API server shows {shown} {what}, and the log has {known}: too few to be believed"
    return ""


def unsettled(state: State) -> str:
    """Why no corrections may be ordered yet, or ''."""
    missing = [resource for resource in NEEDED if not state.synced.get(resource)]
    if missing:
        return f"{' and '.join(missing)} are being listed"
    doubted = [f"{state.doubted[resource]} {resource}" for resource in NEEDED if resource in state.doubted]
    return f"the watcher asks again about {' and '.join(doubted)}" if doubted else ""


def findings(state: State, snapshot: Snapshot, wired: Sequence[Wired] = ()) -> list[Finding]:
    """Returns all findings, in order. `wired`: the reports of the nodes, read before the log was folded."""
    unsorted = [
        *missed(state, snapshot),
        *held_by_nobody(state, snapshot, {report.node for report in wired}),
        *with_two_owners(state, snapshot),
        *without(state, snapshot),
        *misplaced(state),
        *miscounted(state),
        *requested_nowhere(state, snapshot),
        *wired_otherwise(state, snapshot, wired),
        *lived_on(state),
    ]
    return sorted(set(unsorted), key=lambda finding: (KINDS.index(finding.kind), finding))
