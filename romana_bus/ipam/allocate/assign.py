"""Assigns addresses to the pods that need one, or denies them with the reason."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.ipam.allocate.choice import Choice, families_for, networks_for, scope_of
from romana_bus.ipam.allocate.pinned import why_request_fails
from romana_bus.ipam.allocate.place_nodes import release_block
from romana_bus.ipam.allocate.release import publish_release, still_cooling, withheld_is_over
from romana_bus.ipam.allocate.select import choose
from romana_bus.ipam.allocate.spare_blocks import assign_block
from romana_bus.ipam.model.records import Held, make_record
from romana_bus.ipam.model.sandboxes import claimant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.index import Entry
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.records import Cooling


def _order(pod: Pod) -> tuple[str, str, str]:
    namespace, _, name = pod.key.partition("/")
    return namespace, name, pod.node


def entries_to_retry(context: Context) -> set[Entry]:
    """Returns the waiting pods that may find an address now."""
    index, hosts = context.index, context.state.hosts
    dirty = index.dirty
    if not dirty.retry and not dirty.leaves:
        return set()
    names, dirty.retry = dirty.retry, set()
    leaves, dirty.leaves = dirty.leaves, set()
    for number in leaves:
        space = index.spaces[number]
        space.waiting = {name for name in space.waiting if name in hosts and hosts[name].waiting}
        names |= space.waiting
    return {(name, key) for name in names if name in hosts for key in hosts[name].waiting}


def pods_to_assign(context: Context, entries: Iterable[Entry]) -> list[Pod]:
    """Returns the pods among `entries` that need an address, or have one under an old segment."""
    state = context.state
    pods = []
    for node, key in entries:
        pod = claimant(state, node, key) if state.sandboxes else state.pods.get(key)
        if pod is not None and pod.node == node and not pod.details.unfit:
            host = state.hosts.get(node)
            record = host.records.get(key) if host else None
            if (
                host is None
                or record is None
                or record.block is None
                or record.segment != pod.details.segment
                or (record.rest.cooling and withheld_is_over(context, host, record))
            ):
                pods.append(pod)
    return sorted(pods, key=_order)


def assign_addresses(context: Context, pods: list[Pod]) -> Iterator[None]:
    """Assigns an address to each pod. Yields whenever there are enough decisions for a part.

    First come the pods that report addresses and can keep all of them, then those that can keep one. Among
    these, and then among the others, pods that request an address or a network come first."""
    if any(pod.details.request for pod in pods):
        pods = sorted(pods, key=lambda pod: pod.details.request is None)
    for enough in (all, any) if any(pod.details.ips for pod in pods) else ():
        without = []
        for pod in pods:
            if not (pod.ips and _adopt(context, pod, enough)):
                without.append(pod)
            if context.full:
                yield
        pods = without
    state = context.state
    for pod in pods:
        host = state.hosts.get(pod.node) or state.host(pod.node)
        record = host.records.get(pod.key)
        if record is not None and record.block is not None:
            _assign(context, pod, host, record.held)
        elif choices := choose(context, pod, host) if host.placed and host.seen else []:
            _carry_out(context, pod, host, choices)
        else:
            _deny(context, pod, host)
        if context.full:
            yield


def _adopt(context: Context, pod: Pod, enough: Callable[[Iterable[object]], bool]) -> bool:
    """Assigns the addresses that the pod reports, if `enough` of them can be kept."""
    host = context.state.host(pod.node)
    record = host.records.get(pod.key)
    if not (host.placed and host.seen) or (record and record.held):
        return False
    choices = choose(context, pod, host)
    if not choices or not enough(choice.adopted for choice in choices):
        return False
    _carry_out(context, pod, host, choices)
    return True


def _carry_out(context: Context, pod: Pod, host: Host, choices: list[Choice]) -> None:
    _assign(context, pod, host, tuple([take(context, pod, host, choice) for choice in choices]))


def take(context: Context, pod: Pod, host: Host, choice: Choice) -> Held:
    """Makes the chosen block the owner's, and returns the address."""
    if choice.donor is not None:
        _take_from_donor(context, pod, choice)
    if choice.victim is not None:
        release_block(context, choice.victim, 0, pod.cause)
    block, owner = choice.block, choice.owner
    if block is None or (block.tenant, block.segment) != owner:
        text = str(choice.prefix) if block is None else block.text
        since = None if block is None else block.since
        assign_block(context, host, choice.space.leaf.network, text, *owner, since=since, cause=pod.cause)
        block = context.state.blocks[text]
    return Held(block, block.lowest() if choice.offset < 0 else choice.offset)


def _take_from_donor(context: Context, pod: Pod, choice: Choice) -> None:
    """Releases the address and its block on the node that keeps it for the pod's name."""
    assert choice.donor is not None
    donor, kept = choice.donor
    record = donor.records[pod.key]
    left = tuple(old for old in still_cooling(context, donor, record) if old != kept)
    publish_release(context, donor, record, f"the pod is on node {pod.node} now", left, pod.cause)
    release_block(context, kept.block, 0, pod.cause)


def _assign(context: Context, pod: Pod, host: Host, held: tuple[Held, ...]) -> None:
    before = host.records.get(pod.key)
    cooling: tuple[Cooling, ...] = ()
    if before is not None and before.rest.cooling:
        assigned = {(address.block, address.offset) for address in held}
        still = still_cooling(context, host, before, pod.ident)
        cooling = tuple([old for old in still if (old.block, old.offset) not in assigned])
    retention = pod.details.request.retention if pod.details.request else 0
    segment = pod.details.segment
    record = make_record(pod.key, pod.ident, held, cooling, segment=segment, retention=retention)
    context.address(host, record, pod.cause)


def _deny(context: Context, pod: Pod, host: Host) -> None:
    code, reason = _why_not(context, pod, host)
    record = host.records.get(pod.key)
    known = record is not None and (record.uid, record.code, record.reason) == (pod.uid, code, reason)
    if known and not withheld_is_over(context, host, record):  # type: ignore[arg-type]
        return
    scope = scope_of(context, pod, host) if code == "exhausted" else ""
    cooling = still_cooling(context, host, record, pod.ident)
    record = make_record(pod.key, pod.ident, cooling=cooling, code=intern(code), reason=intern(reason))
    context.address(host, record, pod.cause, scope=scope)


def _why_not(context: Context, pod: Pod, host: Host) -> tuple[str, str]:
    """Code and reason of a denial. The same denial always has the same words, so it is published once."""
    topology, tenant = context.state.topology, pod.tenant
    if not host.seen:
        return "host_unknown", f"node {host.name} is not in the API"
    if host.denied:
        return "host_denied", f"node {host.name} is in no group: {host.denied.reason}"
    if not topology.order(tenant):
        return "no_network", f"no network is for tenant {tenant}, and none is for everyone"
    networks = [topology.networks[place] for place in networks_for(context, pod)]
    if pod.request and (unmet := why_request_fails(context, pod, host)):
        return "wish", unmet
    families = families_for(context, pod, host)
    if not families:
        names = ", ".join(network.name for network in networks)
        reason = f"node {host.name} is in no group of the networks that tenant {tenant} may use: {names}"
        return "host_denied", reason
    full = "; ".join(
        f"network {space.leaf.network}, group {space.leaf.group}, {space.leaf.prefix}"
        for family in families
        for space in family
    )
    return "exhausted", f"{'full' if len(families) == 1 else 'one family or more is full'}: {full}"
