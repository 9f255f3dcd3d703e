"""The log held against the API server and the kernels: what does not agree. Pure.

| kind | what |
|---|---|
| nobody | an address whose pod is not in the API server, has finished, or is another one by now |
| without | a pod that wants an address and has none |
| owners | one address with two owners |
| differs | a pod that reports another address than it was given |
| outside | a block in no group, or kept empty in a group that its node has left |
| overlap | blocks that overlap |
| count | an address outside its block, in a block of another node, or counts that do not agree |
| missed | a node or pod that only the log has, or only the API server, or that the log has as it was |
| sandbox | a request of a kubelet whose node is gone: nobody else will take it back |
| kernel | an address that a node's kernel has and the log does not, or the other way round |
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.ipam.audit.addresses import held_by_nobody, with_two_owners
from romana_bus.ipam.audit.blocks import miscounted, misplaced
from romana_bus.ipam.audit.finding import KINDS, Finding, Snapshot
from romana_bus.ipam.audit.kernels import covers, wired_otherwise
from romana_bus.ipam.audit.missing import missed, requested_nowhere, without
from romana_bus.ipam.model.state import NEEDED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.events import Wired
    from romana_bus.ipam.model.state import State

__all__ = ["KINDS", "Finding", "Snapshot", "covers", "doubt", "findings", "unsettled", "wired_otherwise"]


def doubt(state: State, snapshot: Snapshot) -> str:
    """Why nothing may be concluded from this snapshot, or ''. An empty answer, or that of another cluster,
    would free everything, however little that is. A cluster whose nodes were all made anew is told by its
    pods."""
    ours = {host.uid for host in state.hosts.values() if host.seen}
    theirs = {node.uid for node in snapshot.nodes.values()}
    if ours and not theirs:
        return f"the API server gives no node where the log has {len(ours)}: too few to be believed"
    pods = state.pods
    same = (key in pods and pods[key].uid == pod.kubelet_uid for key, pod in snapshot.pods.items())
    if ours and not ours & theirs and not any(same):
        return "the API server is that of another cluster: it has none of the log's nodes"
    for what, here, there in (
        ("nodes", len(ours), len(theirs)),
        ("pods", len(state.pods), len(snapshot.pods)),
    ):
        if here > 10 and there < here / 2:
            return f"the API server gives {there} {what} where the log has {here}: too few to be believed"
    return ""


def unsettled(state: State) -> str:
    """Why nothing is corrected yet, whatever is found, or ''."""
    missing = [resource for resource in NEEDED if not state.synced.get(resource)]
    if missing:
        return f"{' and '.join(missing)} are being listed"
    doubted = [f"{state.doubted[resource]} {resource}" for resource in NEEDED if resource in state.doubted]
    return f"the watcher asks again about {' and '.join(doubted)}" if doubted else ""


def findings(state: State, snapshot: Snapshot, wired: Sequence[Wired] = ()) -> list[Finding]:
    """All that does not agree, in order. `wired`: read before the log was folded."""
    found = [
        *missed(state, snapshot),
        *held_by_nobody(state, snapshot, {report.node for report in wired}),
        *with_two_owners(state, snapshot),
        *without(state, snapshot),
        *misplaced(state),
        *miscounted(state),
        *requested_nowhere(state, snapshot),
        *wired_otherwise(state, snapshot, wired),
    ]
    return sorted(set(found), key=lambda one: (KINDS.index(one.kind), one))
