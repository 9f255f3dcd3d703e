"""Sandboxes that kubelets requested, and which pod gets the addresses of a pod's name on a node.

A kubelet may start a pod before the API shows it (a static pod, or any pod while the watcher lags), and it
may run a pod that the API no longer shows. So a requested sandbox counts as a pod on its node until it is
removed:

* If the API shows a pod of the same uid, its segment, annotations and host network count. The address does
  not end when the API shows that pod as finished, or no longer shows it.
* If two pods of one name are on one node, the pod with the sandbox gets the addresses. The other pod waits
  until the kubelet removes that sandbox, or requests its own. The addresses that it had are given to nobody
  while the API shows it there, since it may still run.
* A request on a node that is not in the API gets no address. It counts again when the node comes back.

There are few of them: an ordinary pod costs one lookup in an empty dictionary.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.events import NODE
from romana_bus.ipam.model.nodes import pod_key, pod_order
from romana_bus.ipam.model.pods import ABSENT, HOST_NETWORK, Pod, Sandbox, make_details, stamp
from romana_bus.ipam.model.uids import ident_of

if TYPE_CHECKING:
    from romana_bus.events import SandboxRemoved, SandboxRequested
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State


class Started(Pod, gc=False, eq=False):
    """A pod that only its kubelet knows. Its `stamp` has the sequence of the sandbox request."""

    @property
    def cause(self) -> str:
        return f"{NODE}/{self.seq}"


# --- folding ---------------------------------------------------------------------------------------------


def requested(state: State, event: SandboxRequested, seq: int) -> None:
    key, node = _entity(state, event)
    state.sandboxes.setdefault(key, {})[node] = Sandbox(ident_of(event.uid), seq)
    _mark(state, node, key)


def removed(state: State, event: SandboxRemoved, seq: int) -> None:
    """Removes the request of the pod's name, whichever sandbox it was for: the newest message counts."""
    key, node = _entity(state, event)
    nodes = state.sandboxes.get(key)
    if nodes and nodes.pop(node, None) and not nodes:
        del state.sandboxes[key]
    host = state.hosts.get(node)
    record = host.records.get(key) if host else None
    if record is not None and (record.block is not None or record.code):
        _mark(state, node, key)
        if claimant(state, node, key) is None:
            state.removed[node, key] = seq


def _entity(state: State, event: SandboxRequested | SandboxRemoved) -> tuple[str, str]:
    """The pod and the node, as strings that the state has already."""
    key = pod_key(event.namespace, event.name)
    pod = state.pods.get(key)
    return (pod.key if pod else key), intern(event.node)


def _mark(state: State, node: str, key: str) -> None:
    if state.index is not None:
        state.index.dirty.records.add((node, key))


# --- whose the addresses are -----------------------------------------------------------------------------


def sandbox(state: State, node: str, key: str) -> Sandbox | None:
    """The sandbox that the node's kubelet requested for the pod's name."""
    nodes = state.sandboxes.get(key)
    return nodes.get(node) if nodes else None


def claimant(state: State, node: str, key: str) -> Pod | None:
    """The pod that gets the addresses of its name on the node; None where no pod needs any."""
    pod = state.pods.get(key)
    here = pod if pod is not None and pod.node == node and not pod.details.unfit else None
    if not state.sandboxes or (box := sandbox(state, node, key)) is None:
        return here
    if pod is None or pod.ident != box.ident or pod.node not in (node, "") or pod.details.unfit == ABSENT:
        return _unknown_to_api(state, node, key, box)
    if here is not None:
        return here
    if pod.details.unfit == HOST_NETWORK:
        return None
    details = make_details(pod.segment, pod.ips, "", pod.request)
    return Started(pod.key, node, box.ident, stamp(0, box.seq), details)


def _unknown_to_api(state: State, node: str, key: str, box: Sandbox) -> Pod:
    """A pod that only its kubelet knows. It keeps the segment under which it got its address."""
    host = state.hosts.get(node)
    record = host.records.get(key) if host else None
    same = record is not None and record.block is not None and record.ident == box.ident
    segment = record.segment if record is not None and same else ""
    return Started(key, node, box.ident, stamp(0, box.seq), make_details(segment, "", "", None))


def bearer(state: State, node: str, key: str) -> Pod | None:
    """The pod that has its name on the node: the claimant; or else the pod that the API shows, which says by
    `unfit` why it needs no address there."""
    pod = claimant(state, node, key) if state.sandboxes else None
    return state.pods.get(key) if pod is None else pod


def beyond_the_api(state: State) -> list[Pod]:
    """Returns the pods that only their kubelets know, by name and node."""
    claimants = [
        claimant(state, node, key)
        for key, nodes in sorted(state.sandboxes.items(), key=lambda item: pod_order(item[0]))
        for node in sorted(nodes)
    ]
    return [pod for pod in claimants if isinstance(pod, Started)]


def may_run(state: State, host: Host, record: Record) -> bool:
    """Whether the record's pod may keep running with its addresses after they are released: the API shows it
    on the node, and another pod of its name has the sandbox."""
    pod = state.pods.get(record.key)
    if pod is None or pod.ident != record.ident or pod.node != host.name or pod.unfit:
        return False
    return claimant(state, host.name, record.key) is not pod
