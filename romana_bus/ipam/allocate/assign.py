"""Which pods have to get an address, and what each of them gets: one, or the reason why not."""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING

from romana_bus.events import AddressAssigned, AddressDenied, PodAddress
from romana_bus.ipam.allocate.offers import Choice, families_for, networks_for, scope_of
from romana_bus.ipam.allocate.pinned import why_unmet
from romana_bus.ipam.allocate.place_nodes import release_block
from romana_bus.ipam.allocate.release import lapsed, say_released, still_cooling, told
from romana_bus.ipam.allocate.select import choose
from romana_bus.ipam.allocate.spare_blocks import own
from romana_bus.ipam.model.records import Held, Record, remaining
from romana_bus.ipam.model.sandboxes import claimant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.index import Entry
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.records import Cooling


def _order(pod: Pod) -> tuple[str, str, str]:
    namespace, _, name = pod.key.partition("/")
    return namespace, name, pod.node


def retried(context: Context) -> set[Entry]:
    """The waiting pods that may find room now."""
    index, hosts = context.index, context.state.hosts
    dirty = index.dirty
    if not dirty.retry and not dirty.rooms:
        return set()
    names, dirty.retry = dirty.retry, set()
    rooms, dirty.rooms = dirty.rooms, set()
    for number in rooms:
        space = index.spaces[number]
        space.waiting = {name for name in space.waiting if name in hosts and hosts[name].waiting}
        names |= space.waiting
    return {(name, key) for name in names if name in hosts for key in hosts[name].waiting}


def wanting(context: Context, entries: Iterable[Entry]) -> list[Pod]:
    """The pods among `entries` that have to get an address, or that have one under an old segment."""
    state = context.state
    pods = []
    for node, key in entries:
        pod = claimant(state, node, key) if state.sandboxes else state.pods.get(key)
        if pod is not None and pod.node == node and not pod.asks.unfit:
            host = state.hosts.get(node)
            record = host.records.get(key) if host else None
            if (
                host is None
                or record is None
                or record.block is None
                or record.segment != pod.asks.segment
                or (record.rest.cooling and lapsed(context, host, record))
            ):
                pods.append(pod)
    return sorted(pods, key=_order)


def give(context: Context, pods: list[Pod]) -> Iterator[None]:
    """Addresses that pods already report go first: where all of a pod's can be had, then where one can;
    of those, the ones that were wished for, whose blocks are small. Then wishes come before the others.
    Yields wherever there is enough for a part."""
    if any(pod.asks.wish for pod in pods):
        pods = sorted(pods, key=lambda pod: pod.asks.wish is None)
    for enough in (all, any) if any(pod.asks.ips for pod in pods) else ():
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
    """The address chosen, in a block that is its owner's by now."""
    if choice.donor is not None:
        _fetch(context, pod, choice)
    if choice.victim is not None:
        release_block(context, choice.victim, 0, pod.cause)
    block, owner = choice.block, choice.owner
    if block is None or (block.tenant, block.segment) != owner:
        text = str(choice.prefix) if block is None else block.text
        since = None if block is None else block.since
        own(context, host, choice.space.leaf.network, text, *owner, since=since, cause=pod.cause)
        block = context.state.blocks[text]
    return Held(block, block.lowest() if choice.offset < 0 else choice.offset)


def _fetch(context: Context, pod: Pod, choice: Choice) -> None:
    """The pod's address, and its block with it, from the node where a pod of its name has been."""
    assert choice.donor is not None
    donor, kept = choice.donor
    record = donor.records[pod.key]
    left = tuple(old for old in still_cooling(context, donor, record) if old != kept)
    say_released(context, donor, record, f"the pod is on node {pod.node} now", left, pod.cause)
    release_block(context, kept.block, 0, pod.cause)


def _assign(context: Context, pod: Pod, host: Host, held: tuple[Held, ...]) -> None:
    before = host.records.get(pod.key)
    cooling: tuple[Cooling, ...] = ()
    if before is not None and before.rest.cooling:
        again = {(one.block, one.offset) for one in held}
        still = still_cooling(context, host, before, pod.ident)
        cooling = tuple([old for old in still if (old.block, old.offset) not in again])
    retention = pod.asks.wish.retention if pod.asks.wish else 0
    segment = pod.asks.segment
    namespace, _, name = pod.key.partition("/")
    event = AddressAssigned(
        namespace=namespace, name=name, uid=pod.uid, node=host.name, tenant=namespace, segment=segment,
        addresses=tuple([_pod_address(context, one.block, one.offset) for one in held]),
        cooling=told(cooling), retention=retention,
    )  # fmt: skip
    rest = remaining(held[1:], cooling, "", "", retention)
    record = Record(pod.key, pod.ident, segment, held[0].block, held[0].offset, rest)
    context.address(host, record, event, pod.cause)


def _pod_address(context: Context, block: Block, offset: int) -> PodAddress:
    network = context.index.spaces[block.leaf].leaf.network if block.leaf >= 0 else block.network
    return PodAddress(address=block.address(offset), network=network, block=block.text)


def _deny(context: Context, pod: Pod, host: Host) -> None:
    code, reason = _why_not(context, pod, host)
    record = host.records.get(pod.key)
    said = record is not None and (record.uid, record.code, record.reason) == (pod.uid, code, reason)
    if said and not lapsed(context, host, record):  # type: ignore[arg-type]
        return
    scope = scope_of(context, pod, host) if code == "exhausted" else ""
    cooling = still_cooling(context, host, record, pod.ident)
    namespace, _, name = pod.key.partition("/")
    event = AddressDenied(
        namespace=namespace, name=name, uid=pod.uid, node=host.name, code=code, reason=reason,
        cooling=told(cooling), scope=scope,
    )  # fmt: skip
    rest = remaining((), cooling, intern(code), intern(reason))
    context.address(host, Record(pod.key, pod.ident, "", None, 0, rest), event, pod.cause)


def _why_not(context: Context, pod: Pod, host: Host) -> tuple[str, str]:
    """In words that do not change while nothing that they name does."""
    topology, tenant = context.state.topology, pod.tenant
    if not host.seen:
        return "host_unknown", f"node {host.name} is not in the API"
    if host.denied:
        return "host_denied", f"node {host.name} is in no group: {host.denied.reason}"
    if not topology.order(tenant):
        return "no_network", f"no network is for tenant {tenant}, and none is for everyone"
    networks = [topology.networks[at] for at in networks_for(context, pod)]
    if pod.wish and (unmet := why_unmet(context, pod, host)):
        return "wish", unmet
    families = families_for(context, pod, host)
    if not families:
        names = ", ".join(network.name for network in networks)
        return "host_denied", f"node {host.name} is in no group of what tenant {tenant} may use: {names}"
    full = "; ".join(
        f"network {space.leaf.network}, group {space.leaf.group}, {space.leaf.prefix}"
        for offering in families
        for space in offering
    )
    return "exhausted", f"{'full' if len(families) == 1 else 'one family or more is full'}: {full}"
