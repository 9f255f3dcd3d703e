"""Sandboxes that kubelets have asked for, and what follows: who is to have the addresses of a pod's name
on a node.

A kubelet may start a pod before the API shows it: a static pod, or any, where the watcher is behind; and it
may run one that the API no longer shows. So a requested sandbox is a pod on its node, until it is removed:

* The API's word about a pod of the same uid (segment, wishes, host network) counts. That it is gone, or has
  finished, does not end its address.
* Of two pods of one name on one node, with different uids, the one with the sandbox has the addresses, and
  the other one waits until the kubelet has removed that sandbox, or asks for its own. What it had from us is
  nobody's while the API shows it there: it may still run.
* A request on a node that is not in the API has no address. What is requested there counts again if a node
  of that name comes back.

There are few of them, so ordinary pods pay one look at an empty dictionary.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.events import NODE
from romana_bus.ipam.model.nodes import pod_key, pod_order
from romana_bus.ipam.model.pods import ABSENT, HOST_NETWORK, Pod, Sandbox, asks, stamp
from romana_bus.ipam.model.uids import ident_of

if TYPE_CHECKING:
    from romana_bus.events import SandboxRemoved, SandboxRequested
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State


class Started(Pod, gc=False, eq=False):
    """A pod by its kubelet's word alone. Its `stamp` has the sequence of the request."""

    @property
    def cause(self) -> str:
        return f"{NODE}/{self.seq}"


# --- what kubelets say -----------------------------------------------------------------------------------


def requested(state: State, event: SandboxRequested, seq: int) -> None:
    key, node = _place(state, event)
    state.sandboxes.setdefault(key, {})[node] = Sandbox(ident_of(event.uid), seq)
    _look_at(state, node, key)


def removed(state: State, event: SandboxRemoved, seq: int) -> None:
    """Whichever sandbox it names: the newest message about the name is all that is known of it."""
    key, node = _place(state, event)
    nodes = state.sandboxes.get(key)
    if nodes and nodes.pop(node, None) and not nodes:
        del state.sandboxes[key]
    host = state.hosts.get(node)
    record = host.records.get(key) if host else None
    if record is not None and (record.block is not None or record.code):
        _look_at(state, node, key)
        if claimant(state, node, key) is None:
            state.removed[node, key] = seq


def _place(state: State, event: SandboxRequested | SandboxRemoved) -> tuple[str, str]:
    key = pod_key(event.namespace, event.name)
    pod = state.pods.get(key)
    return (pod.key if pod else key), intern(event.node)


def _look_at(state: State, node: str, key: str) -> None:
    if state.index is not None:
        state.index.dirty.records.add((node, key))


# --- what follows ----------------------------------------------------------------------------------------


def sandbox(state: State, node: str, key: str) -> Sandbox | None:
    nodes = state.sandboxes.get(key)
    return nodes.get(node) if nodes else None


def claimant(state: State, node: str, key: str) -> Pod | None:
    """The pod that is to have the addresses of its name on the node; None where nobody wants any."""
    pod = state.pods.get(key)
    here = pod if pod is not None and pod.node == node and not pod.asks.unfit else None
    if not state.sandboxes or (box := sandbox(state, node, key)) is None:
        return here
    if pod is None or pod.ident != box.ident or pod.node not in (node, "") or pod.asks.unfit == ABSENT:
        return _alone(state, node, key, box)
    if here is not None:
        return here
    if pod.asks.unfit == HOST_NETWORK:
        return None
    wants = asks(pod.segment, pod.ips, "", pod.wish)
    return Started(pod.key, node, box.ident, stamp(0, box.seq), wants)


def _alone(state: State, node: str, key: str, box: Sandbox) -> Pod:
    """Nothing else is known of it. What it was given once, it keeps as it was given."""
    host = state.hosts.get(node)
    record = host.records.get(key) if host else None
    same = record is not None and record.block is not None and record.ident == box.ident
    segment = record.segment if record is not None and same else ""
    return Started(key, node, box.ident, stamp(0, box.seq), asks(segment, "", "", None))


def bearer(state: State, node: str, key: str) -> Pod | None:
    """Whose the name is on the node: the claimant's, or else, with its reason to want nothing there, that of
    the pod that the API shows."""
    pod = claimant(state, node, key) if state.sandboxes else None
    return state.pods.get(key) if pod is None else pod


def beyond_the_api(state: State) -> list[Pod]:
    """The pods that want an address by their kubelets' word alone, by name and node."""
    found = [
        claimant(state, node, key)
        for key, nodes in sorted(state.sandboxes.items(), key=lambda one: pod_order(one[0]))
        for node in sorted(nodes)
    ]
    return [pod for pod in found if isinstance(pod, Started)]


def may_run(state: State, host: Host, record: Record) -> bool:
    """Whether the pod that has the record's addresses may run on with them though they are taken from it:
    the API shows it there, and another one of its name has the sandbox."""
    pod = state.pods.get(record.key)
    if pod is None or pod.ident != record.ident or pod.node != host.name or pod.unfit:
        return False
    return claimant(state, host.name, record.key) is not pod
