"""Assigns addresses to the pods that need one, or denies them with the reason."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.ipam.allocate.choice import Choice, families_for, networks_for, scope_of
from romana_bus.ipam.allocate.limits import Unmet, why_not_retained
from romana_bus.ipam.allocate.pinned import requested_families
from romana_bus.ipam.allocate.place_nodes import release_block
from romana_bus.ipam.allocate.release import publish_release, still_cooling, withheld_is_over
from romana_bus.ipam.allocate.select import choose
from romana_bus.ipam.allocate.spare_blocks import assign_block
from romana_bus.ipam.model.pinned import has_excess
from romana_bus.ipam.model.records import Cooling, Held, make_record
from romana_bus.ipam.model.sandboxes import claimant
from romana_bus.ipam.model.waiting import ADDRESS, BLOCK, ROOM
from romana_bus.ipam.topology.pinned_limits import duration_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.annotations import PodRequest
    from romana_bus.ipam.model.free_space import FreeSpace
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.state import Entry
    from romana_bus.ipam.model.uids import Ident
    from romana_bus.ipam.model.waiting import Target

    Families = Sequence[tuple[FreeSpace, ...]]


#: Why a sticky pod that gets another segment still has an address that is not kept.
NOT_RETAINED = "its addresses were not kept before"


def _order(pod: Pod) -> tuple[str, str, str]:
    namespace, _, name = pod.key.partition("/")
    return namespace, name, pod.node


def _by_request(pod: Pod) -> int:
    request = pod.details.request
    return 2 if request is None else 0 if request.addresses else 1


def entries_to_retry(context: Context) -> set[Entry]:
    """Returns the waiting pods that may find an address now."""
    retry = context.index.dirty.retry
    entries = set(retry)
    retry.clear()  # the index adds to this very set
    return entries


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
    these, and then among the others, pods that request a fixed address come first, then those with another
    request; among equals, the order is that of `pods`."""
    if any(pod.details.request for pod in pods):
        pods = sorted(pods, key=_by_request)
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
            _assign(context, pod, host, record.held, "" if record.retention else NOT_RETAINED)
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
    reason = why_not_retained(context, pod, host, choices)  # before the addresses are taken, and count
    held = tuple([take(context, pod, host, choice) for choice in choices])
    _assign(context, pod, host, held, reason)


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


def _assign(context: Context, pod: Pod, host: Host, held: tuple[Held, ...], not_retained: str) -> None:
    """`not_retained`: why the addresses may not be kept for the pod's name when the pod is gone, or ''."""
    before = host.records.get(pod.key)
    cooling: tuple[Cooling, ...] = ()
    if before is not None and before.rest.cooling:
        assigned = {(address.block, address.offset) for address in held}
        still = still_cooling(context, host, before, pod.ident)
        cooling = tuple([old for old in still if (old.block, old.offset) not in assigned])
    segment, request = pod.details.segment, pod.details.request
    if request is None:
        record = make_record(pod.key, pod.ident, held, cooling, segment=segment)
        context.address(host, record, pod.cause)
        return
    retention, shorter = (0, not_retained) if not_retained else _retention(context, request, held)
    fixed = sum(1 << n for n, address in enumerate(held) if address.numeric in request.addresses)
    record = make_record(
        pod.key, pod.ident, held, cooling, segment=segment, retention=retention, fixed=fixed
    )  # fmt: skip
    if request.retention > retention:
        requested = request.retention
        context.address(host, record, pod.cause, requested_retention=requested, reason=shorter)
    else:
        context.address(host, record, pod.cause)


def _retention(context: Context, request: PodRequest, held: tuple[Held, ...]) -> tuple[int, str]:
    """For how long the addresses are kept after the pod is gone: what it requests, or the most that its
    networks allow, and why it is less. Each network limits it once more when its address is released."""
    topology = context.index.topology
    places = [topology.place_of(address.block.leaf) for address in held if address.block.leaf >= 0]
    networks = [topology.networks[place] for place in places]
    if not networks:
        return request.retention, ""
    most = max(networks, key=lambda network: network.limits.max_retention)
    allowed = most.limits.max_retention
    if request.retention <= allowed:
        return request.retention, ""
    return allowed, (
        f"network {most.name} keeps addresses for {duration_text(allowed)} at most: request less, or raise "
        "wishes.max_retention"
    )


def _deny(context: Context, pod: Pod, host: Host) -> None:
    watch: set[Target] = {(ADDRESS, *address) for address in pod.reported}
    code, reason, full = _why_not(context, pod, host, watch)
    context.index.waiting.wait((host.name, pod.key), watch)
    record = host.records.get(pod.key)
    if record is not None and (record.uid, record.code, record.reason) == (pod.uid, code, reason):
        cooling_changes = withheld_is_over(context, host, record) or has_excess(context.state, record)
        if not cooling_changes:
            return
    scope = scope_of(context, full) if full else ""
    cooling = still_cooling(context, host, record, pod.ident)
    if record is not None and record.ident == pod.ident and not record.rest.code:
        cooling = tuple(_owned(old, pod.ident) for old in cooling)
    record = make_record(pod.key, pod.ident, cooling=cooling, code=intern(code), reason=intern(reason))
    context.address(host, record, pod.cause, scope=scope)


def _owned(old: Cooling, ident: Ident) -> Cooling:
    """The address that the pod itself had last: its denial says so, since it may get the address back."""
    return old if old.ident else Cooling(old.block, old.offset, old.until, old.kept, ident)


def _why_not(context: Context, pod: Pod, host: Host, watch: set[Target]) -> tuple[str, str, Families]:
    """Code and reason of a denial, and what is full, if that is why. The same denial always has the same
    words, so it is published once. `watch`: collects what the answer depends on."""
    topology, tenant = context.state.topology, pod.tenant
    if not host.seen:
        return "host_unknown", f"node {host.name} is not in the API", ()
    if host.denied:
        return "host_denied", f"node {host.name} is in no group: {host.denied.reason}", ()
    if not topology.order(tenant):
        return "no_network", f"no network is for tenant {tenant}, and none is for everyone", ()
    networks = [topology.networks[place] for place in networks_for(context, pod)]
    families: Families = families_for(context, pod, host)
    if pod.request:
        requested = requested_families(context, pod, host, watch)
        if isinstance(requested, Unmet):
            return requested.code, requested.reason, ()
        families = requested
    if not families:
        names = ", ".join(network.name for network in networks)
        reason = f"node {host.name} is in no group of the networks that tenant {tenant} may use: {names}"
        return "host_denied", reason, ()
    full = "; ".join(
        f"network {space.leaf.network}, group {space.leaf.group}, {space.leaf.prefix}"
        for family in families
        for space in family
    )
    for space in (space for family in families for space in family):
        watch.update(((ROOM, host.name, space.leaf.number), (BLOCK, "", space.leaf.number)))
    words = "full" if len(families) == 1 else "one family or more is full"
    return "exhausted", f"{words}: {full}", families
