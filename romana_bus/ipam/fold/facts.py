"""Folds facts about nodes and pods, and agents' reports of what nodes live on, into the state.

The newest message of each subject is its whole state, for any resource version: only the watcher writes
facts, and it drops objects that are older than those it has written.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.events import version_number
from romana_bus.ipam.model.annotations import parse_request
from romana_bus.ipam.model.nodes import pod_key
from romana_bus.ipam.model.pods import ABSENT, AS_GIVEN, HOST_NETWORK, Pod, make_details, stamp
from romana_bus.ipam.model.uids import ident_of
from romana_bus.ipam.model.underlay import claims_of

if TYPE_CHECKING:
    from romana_bus.events import (
        NodeGone,
        NodeNetwork,
        NodeSeen,
        PodGone,
        PodSeen,
        ResourceListing,
        ResourceSynced,
    )
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.model.underlay import Claim

SEGMENT_LABEL = "romana.io/segment"
FINISHED = ("Succeeded", "Failed")


def node_seen(state: State, event: NodeSeen, seq: int) -> None:
    """Stores what the API shows of the node. If it is new, or its uid, addresses or labels changed, its
    placement is decided again; if it is new, its records are too."""
    version = version_number(event.resource_version)
    state.gone_nodes.drop(event.name)
    host = state.host(intern(event.name))
    labels = {intern(key): intern(value) for key, value in event.labels.items()}
    before = (host.seen, host.uid, host.addresses, host.labels)
    if host.addresses != event.addresses:
        _set_claims(state, host, event.addresses, host.underlay)
    host.seen, host.uid, host.labels = True, event.uid, labels
    host.version, host.seq = version, seq
    if state.index is not None and before != (True, event.uid, event.addresses, labels):
        state.index.dirty.hosts.add(host.name)
        if not before[0]:
            _mark_all(state, host)


def node_gone(state: State, event: NodeGone, seq: int) -> None:
    """Pods that are still on the node keep their addresses."""
    state.gone_nodes.put(intern(event.name), (version_number(event.resource_version), seq))
    host = state.hosts.get(event.name)
    if host is None:
        return
    _set_claims(state, host, (), host.underlay)
    host.seen, host.uid, host.labels = False, "", {}
    if state.index is not None:
        state.index.dirty.hosts.add(host.name)
        _mark_all(state, host)
    state.drop_if_empty(host)


def _set_claims(state: State, host: Host, addresses: tuple[str, ...], underlay: tuple[Claim, ...]) -> None:
    """`addresses`: the node's, by the API server. `underlay`: what its agent reports."""
    before = host.claimed
    host.addresses, host.underlay = addresses, underlay
    if (after := host.claimed) != before:
        state.addresses_changed((*before, *after))


def node_network(state: State, event: NodeNetwork, _seq: int) -> None:
    """Stores what the node lives on. Its placement is decided again if that changed."""
    host, underlay = state.hosts.get(event.node), claims_of(event)
    if host is None:
        state.hostless.put(intern(event.node), underlay)
        return
    if host.underlay == underlay:
        return
    _set_claims(state, host, host.addresses, underlay)
    if state.index is not None:
        state.index.dirty.hosts.add(host.name)


def _mark_all(state: State, host: Host) -> None:
    """Marks every record of the node: it came, or is gone."""
    if state.index is not None:
        state.index.dirty.records.update((host.name, key) for key in host.records)


def pod_seen(state: State, event: PodSeen, seq: int) -> None:
    """Stores what the API shows of the pod. If more than its version changed, its records are decided again,
    also on the node that it was on before. The addresses that it reports are stored as `AS_GIVEN` where they
    are those of its record."""
    key = pod_key(event.namespace, event.name)
    version = version_number(event.resource_version)
    state.facts = seq
    pod = state.pods.get(key)
    node = intern(event.node)
    why_not = unfit(event) or (is_absent(state, key, event.kubelet_uid, seq) if state.absent else "")
    request = parse_request(event.annotations) if event.annotations else None
    segment = intern(event.labels.get(SEGMENT_LABEL, "")) if event.labels else ""
    ips = ",".join(event.ips) if event.ips else ""
    host = state.hosts.get(node)
    record = host.records.get(key) if host else None
    if ips and record is not None and record.block is not None and ips == record.ips:
        ips = AS_GIVEN
    details = make_details(segment, ips, why_not, request)
    ident = ident_of(event.kubelet_uid)
    if record is not None:
        key, ident = record.key, record.ident if record.ident == ident else ident
    if pod is None:
        state.gone_pods.drop(key)
        state.pods[key] = Pod(key, node, ident, stamp(version, seq), details)
        before = node
    else:
        pod.stamp, before = stamp(version, seq), pod.node
        if before == node and pod.ident == ident and pod.details == details:
            return
        pod.node, pod.ident, pod.details = node, ident, details
    if state.index is not None:
        state.index.dirty.records.add((node, key))
        if before != node:
            state.index.dirty.records.add((before, key))
        if state.sandboxes:
            _mark_sandboxes(state, key)


def pod_of(event: PodSeen) -> Pod:
    """The pod that the API server shows, without what it reports and requests."""
    key = pod_key(event.namespace, event.name)
    return Pod(key, event.node, ident_of(event.kubelet_uid), 0, make_details("", "", unfit(event), None))


def unfit(event: PodSeen) -> str:
    """Why the pod needs no address from IPAM, or ''."""
    if event.host_network:
        return HOST_NETWORK
    if event.phase in FINISHED:
        return "the pod has finished"
    return "" if event.node else "the pod is on no node"


def is_absent(state: State, key: str, uid: str, seq: int) -> str:
    """Why the fact KUBE/`seq` about the pod no longer counts, or ''."""
    missing = state.absent.get(key, {}).values()
    return ABSENT if any(gone == uid and seq <= covered for gone, covered in missing) else ""


def pod_gone(state: State, event: PodGone, seq: int) -> None:
    """Removes the pod. Its addresses stay in use until a decision releases them."""
    key = pod_key(event.namespace, event.name)
    state.facts = seq
    pod = state.pods.get(key)
    state.gone_pods.put(key, (version_number(event.resource_version), seq))
    if pod is not None:
        del state.pods[key]
        if state.index is not None:
            state.index.dirty.records.add((pod.node, key))
            if state.sandboxes:
                _mark_sandboxes(state, key)


def _mark_sandboxes(state: State, key: str) -> None:
    """Marks the nodes with a sandbox for a pod of this name: what the API shows of the pod counts there."""
    if state.index is not None:
        state.index.dirty.records.update((node, key) for node in state.sandboxes.get(key, ()))


def listing(state: State, event: ResourceListing, _seq: int) -> None:
    state.synced[event.resource] = False
    state.doubted.pop(event.resource, None)


def synced(state: State, event: ResourceSynced, _seq: int) -> None:
    state.synced[event.resource] = True
    state.doubted.pop(event.resource, None)
    if event.doubted:
        state.doubted[event.resource] = event.doubted
