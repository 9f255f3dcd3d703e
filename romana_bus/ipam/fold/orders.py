"""Corrections: the orders of audits and operators to end addresses.

A correction concerns one pod, by its uid. It is settled once nothing of that pod is left: neither the pod,
nor a sandbox, nor an address. Then it says nothing any more, and leaves the state.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import SPEC
from romana_bus.ipam.fold import facts
from romana_bus.ipam.model.nodes import Ended, pod_key
from romana_bus.ipam.model.pods import ABSENT, make_details
from romana_bus.ipam.model.sandboxes import sandbox
from romana_bus.ipam.model.uids import text_of

if TYPE_CHECKING:
    from romana_bus.events import AddressDisowned
    from romana_bus.ipam.model.state import State


def address_disowned(state: State, event: AddressDisowned, seq: int) -> None:
    """The newest correction of a pod's name on a node replaces the earlier ones."""
    key = pod_key(event.namespace, event.name)
    ended = Ended(frozenset(event.addresses), event.reason, f"{SPEC}/{seq}", event.uid)
    state.disowned[event.node, key] = ended
    _no_longer_absent(state, key, event.node)
    if event.absent:
        state.absent.setdefault(key, {})[event.node] = event.uid, event.covers
    pod = state.pods.get(key)
    if pod is not None:
        fit = "" if pod.unfit == ABSENT else pod.unfit
        unfit = fit or facts.is_absent(state, key, pod.uid, pod.seq)
        pod.details = make_details(pod.segment, pod.ips, unfit, pod.request)
    if state.index is not None:
        state.index.dirty.records.add((event.node, key))
        if pod is not None:
            state.index.dirty.records.add((pod.node, key))


def forget_settled(state: State) -> None:
    """Forgets the corrections of pods of which nothing is left."""
    for (node, key), order in list(state.disowned.items()):
        if not _is_known(state, node, key, order.uid):
            del state.disowned[node, key]
            _no_longer_absent(state, key, node)


def _no_longer_absent(state: State, key: str, node: str) -> None:
    if absent := state.absent.get(key):
        absent.pop(node, None)
        if not absent:
            del state.absent[key]


def _is_known(state: State, node: str, key: str, uid: str) -> bool:
    """Whether the pod is in the API, or has a sandbox or a record on the node."""
    pod, box, host = state.pods.get(key), sandbox(state, node, key), state.hosts.get(node)
    record = host.records.get(key) if host else None
    return (
        (pod is not None and pod.uid == uid)
        or (box is not None and text_of(box.ident) == uid)
        or (record is not None and record.uid == uid)
    )
