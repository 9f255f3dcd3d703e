"""What holds in every state, told from the table alone: from what was published, not from how it was
worked out."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from romana_bus import events as ev
from romana_bus.inet import Prefix, format_address, parse_address, parse_prefix
from romana_bus.ipam.fold.address_events import record_of
from romana_bus.ipam.fold.facts import FINISHED, SEGMENT_LABEL
from romana_bus.ipam.model.annotations import parse_request
from romana_bus.ipam.model.index import Index
from romana_bus.ipam.model.usage import free_by_leaf, usage_index
from romana_bus.ipam.report import views
from tests.ipam.cluster import addresses, pinned
from tests.ipam.fold.state_dump import record_of as plain

if TYPE_CHECKING:
    from romana_bus.ipam import Decision
    from romana_bus.ipam.topology.networks import Network
    from romana_bus.ipam.topology.tree import Leaf
    from tests.ipam.cluster import Cluster

Address = tuple[int, int]


def hold(cluster: Cluster, decisions: list[Decision]) -> None:
    no_address_has_two_owners(cluster)
    every_address_is_in_its_hosts_block(cluster)
    blocks_do_not_overlap(cluster)
    usage_adds_up(cluster)
    warm_blocks_are_within_the_setting(cluster)
    assigned_addresses_are_permitted(cluster, decisions)
    no_pod_waits_without_reason(cluster)
    records_are_what_their_events_say(cluster)
    limits_hold(cluster, decisions)


def given(cluster: Cluster) -> dict[Address, str]:
    """Address -> the entity that has it."""
    found: dict[Address, str] = {}
    for event in cluster.newest(ev.AddressAssigned):
        for address in event.addresses:
            where = parse_address(address.address)
            assert where not in found, f"{address.address}: {found[where]} and {event.subject()}"
            found[where] = event.subject()
    return found


def cooling(cluster: Cluster) -> set[Address]:
    return {parse_address(one.address) for one in cooling_addresses(cluster)}


def cooling_addresses(cluster: Cluster) -> list[ev.CoolingAddress]:
    kinds = (ev.AddressAssigned, ev.AddressDenied, ev.AddressReleased)
    events = [event for kind in kinds for event in cluster.newest(kind)]
    return [one for event in events for one in event.cooling if one.until > cluster.state.now]


def unavailable_blocks(cluster: Cluster) -> list[Prefix]:
    """Blocks that nobody else can have: somebody's, or released and not free yet, as a whole or because
    an address of them still cools."""
    found = [parse_prefix(text) for text in cluster.blocks()]
    found += [parse_prefix(e.block) for e in cluster.newest(ev.BlockReleased) if e.until > cluster.state.now]
    return found + [parse_prefix(one.block) for one in cooling_addresses(cluster)]


def no_address_has_two_owners(cluster: Cluster) -> None:
    """A pod that reports an address runs with it, and gets it even while it cools down."""
    if both := set(given(cluster)) & cooling(cluster):
        owners = given(cluster)
        seen = [one.event for one in cluster.log if isinstance(one.event, ev.PodSeen) and one.event.ips]
        reported = {(pod.namespace, pod.name, parse_address(ip)) for pod in seen for ip in pod.ips}
        of_pods = {
            (event.namespace, event.name, parse_address(address.address))
            for event in cluster.newest(ev.AddressAssigned)
            for address in event.addresses
        }
        assert {where for *_, where in of_pods & reported} >= both, {
            address: owners[address] for address in both
        }


def every_address_is_in_its_hosts_block(cluster: Cluster) -> None:
    owners = cluster.blocks()
    for event in cluster.newest(ev.AddressAssigned):
        for address in event.addresses:
            assert owners[address.block] == event.node
            assert inside(parse_address(address.address), parse_prefix(address.block))


def inside(address: Address, prefix: Prefix) -> bool:
    return address[0] == prefix.width and prefix.base <= address[1] < prefix.end


def blocks_do_not_overlap(cluster: Cluster) -> None:
    blocks = sorted(parse_prefix(text) for text in cluster.blocks())
    assert len(blocks) == len(cluster.newest(ev.BlockAssigned))
    for lower, higher in pairwise(blocks):
        assert not lower.overlaps(higher), f"{lower} and {higher}"


def usage_adds_up(cluster: Cluster) -> None:
    used = given(cluster)
    cool = cooling(cluster) - used.keys()
    for network in views.networks(cluster.state):
        for prefix, usage in [
            (network.prefix, network.usage),
            *((g.prefix, g.usage) for g in network.groups),
        ]:
            assert usage.used + usage.cooling + usage.reserved + usage.free == usage.size
            assert usage.used == sum(inside(address, parse_prefix(prefix)) for address in used)
            assert usage.cooling == sum(inside(address, parse_prefix(prefix)) for address in cool)
            assert min(usage.reserved, usage.free) >= 0
    index = usage_index(cluster.state)
    for leaf, free in zip(cluster.state.topology.leaves, free_by_leaf(cluster.state), strict=True):
        assert free == index[leaf.prefix.width].free(leaf.prefix)
    for block in views.blocks(cluster.state):
        usage = block.usage
        assert usage.used + usage.cooling + usage.reserved + usage.free == usage.size
        assert min(usage.reserved, usage.free) >= 0


def warm_blocks_are_within_the_setting(cluster: Cluster) -> None:
    """Never more than that in one group; fewer where there is no room. Empty ones are nobody's yet. A node
    that is gone is where it was, whatever that is called by now."""
    for host in views.hosts(cluster.state):
        empty = [block for block in host.blocks if not block.usage.used and not block.usage.cooling]
        for leaf in cluster.state.topology.leaves:
            there = [block for block in empty if leaf.prefix.contains(parse_prefix(block.block))]
            placed = host.groups.get(leaf.network) == leaf.group or not host.in_api
            assert len(there) <= (cluster.settings.warm_blocks if placed else 0)
        assert all((block.tenant, block.segment) == ("*", "*") for block in empty)


def assigned_addresses_are_permitted(cluster: Cluster, decisions: list[Decision]) -> None:
    """A new address: in a leaf of its host, of a network for its tenant, and in no reserved range, unless
    the pod has it already, or had it and was taken for gone."""
    leaves = {str(leaf.prefix): leaf for leaf in cluster.state.topology.leaves}
    placed = {event.node: event.placements for event in cluster.newest(ev.HostPlaced)}
    fresh = {d.event.subject(): d.event for d in decisions if isinstance(d.event, ev.AddressAssigned)}
    for event in fresh.values():
        if cluster.before.get(event.subject()) == addresses(event):
            continue
        widths = set()
        stored = cluster.table.get(f"kube.pod.{event.namespace}.{event.name}")
        reported = stored.event.ips if stored and isinstance(stored.event, ev.PodSeen) else ()
        for address in event.addresses:
            where = parse_address(address.address)
            widths.add(where[0])
            mine = [leaves[at.prefix] for at in placed[event.node] if inside(where, leaves[at.prefix].prefix)]
            assert len(mine) == 1
            network = network_of(cluster, mine[0])
            assert not network.tenants or event.tenant in network.tenants
            had = cluster.before.get(event.subject(), "").split()
            cooled = (event.subject(), event.uid, address.address) in cluster.cooled_before
            assert cooled or address.address in (*reported, *had) or not reserved(cluster, where)
        assert len(widths) == len(event.addresses)


def network_of(cluster: Cluster, leaf: Leaf) -> Network:
    return next(n for n in cluster.state.topology.networks if leaf in n.leaves)


def reserved(cluster: Cluster, address: Address) -> bool:
    return any(inside(address, parse_prefix(event.cidr)) for event in cluster.newest(ev.RangeReserved))


def no_pod_waits_without_reason(cluster: Cluster) -> None:
    """Every pod that wants an address has one, or is told why not; and if that is for want of room, there
    really is none: no free address in a block of its owner, no block to be had for it, and none that
    another host merely holds in spare."""
    have = {(e.node, e.namespace, e.name): e for e in cluster.newest(ev.AddressAssigned)}
    denied = {(e.node, e.namespace, e.name): e for e in cluster.newest(ev.AddressDenied)}
    wanting = wanted(cluster)
    assert have.keys() <= wanting.keys()
    for key, pod in wanting.items():
        assert (key in have) != (key in denied)
        if key in have:
            assert have[key].uid == pod.kubelet_uid
        elif denied[key].code == "exhausted":
            assert not could_have(cluster, pod)
        elif denied[key].code == "wish":
            assert not could_be_fulfilled(cluster, pod)
        elif denied[key].code == "wish_limit":
            assert is_limited(cluster, pod)


def limits_hold(cluster: Cluster, decisions: list[Decision]) -> None:
    """No namespace gets a further fixed or sticky address over its limit, no group gets a further broken
    block over its own, and no address is kept for longer than its network allows. Pods that report addresses
    run with them, so they keep them."""
    counts, now = pinned_by_network(cluster, pinned(cluster)), cluster.state.now
    before = pinned_by_network(cluster, cluster.pinned_before)
    reporting = {pod.namespace for pod in cluster.newest(ev.PodSeen) if pod.ips}
    for (namespace, name), count in counts.items():
        limit = network_named(cluster, name).limits.max_per_namespace
        if namespace not in reporting:
            assert count <= max(limit, before[namespace, name])
    for decision in decisions:
        for one in getattr(decision.event, "cooling", ()):
            leaf = cluster.state.topology.leaf_of(parse_prefix(one.block))
            if one.kept and one.until != ev.WHILE_IT_RUNS and leaf:
                allowed = network_of(cluster, leaf).limits.max_retention
                assert one.until <= now + max(allowed, cluster.settings.cooldown)
    index = cluster.state.index
    assert isinstance(index, Index)
    places = cluster.state.topology.place
    assert index.pinned.counts == {(who, places[name]): count for (who, name), count in counts.items()}


def pinned_by_network(cluster: Cluster, addresses: dict[str, str]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for address, namespace in addresses.items():
        width, value = parse_address(address)
        leaf = cluster.state.topology.leaf_of(Prefix(width, value, width))
        if leaf:
            found[namespace, leaf.network] += 1
    return found


def network_named(cluster: Cluster, name: str) -> Network:
    return cluster.state.topology.networks[cluster.state.topology.place[name]]


def broken_blocks(cluster: Cluster, leaf: Leaf) -> set[int]:
    """The bases of the whole blocks that contain a block of one address."""
    size = 1 << (leaf.prefix.width - leaf.block_length)
    singles = [block for block in unavailable_blocks(cluster) if block.length == block.width]
    inside = [block.base & -size for block in singles if leaf.prefix.contains(block)]
    return set(inside) if size > 1 else set()


def is_limited(cluster: Cluster, pod: ev.PodSeen) -> bool:
    """Whether a limit of one of its networks keeps the pod from what it requests."""
    request = parse_request(pod.annotations)
    assert request is not None
    placed = next(event for event in cluster.newest(ev.HostPlaced) if event.node == pod.node)
    prefixes = {placement.prefix for placement in placed.placements}
    counts = pinned_by_network(cluster, pinned(cluster))
    for leaf in (leaf for leaf in cluster.state.topology.leaves if str(leaf.prefix) in prefixes):
        limits = network_of(cluster, leaf).limits
        fixed = [address for address in request.addresses if inside(address, leaf.prefix)]
        kinds = (["fixed"] if fixed else []) + (["sticky"] if request.retention else [])
        if not all(limits.allows(kind, pod.namespace) for kind in kinds):
            return True
        if fixed and counts[pod.namespace, leaf.network] >= limits.max_per_namespace:
            return True
        blocks = 1 << (leaf.block_length - leaf.prefix.length)
        if fixed and len(broken_blocks(cluster, leaf)) >= limits.breakable(blocks):
            return True
    return False


def records_are_what_their_events_say(cluster: Cluster) -> None:
    """Whoever decides keeps the record that it decided. Whoever reads the event makes the same one of it."""
    state = cluster.state
    for kind in (ev.AddressAssigned, ev.AddressDenied, ev.AddressReleased):
        for event in cluster.newest(kind):
            host, read = state.hosts.get(event.node), record_of(state, event)
            kept = host.records.get(read.key) if host else None
            assert read.empty if kept is None else plain(kept) == plain(read), event.subject()


def wanted(cluster: Cluster) -> dict[tuple[str, str, str], ev.PodSeen]:
    """(Node, namespace, name) -> the pod that is to have the addresses there: the one with the sandbox, if
    one was requested, or else the one that the API shows."""
    seen = {(pod.namespace, pod.name): pod for pod in cluster.newest(ev.PodSeen)}
    found = {
        (pod.node, *name): pod
        for name, pod in seen.items()
        if pod.node and not pod.host_network and pod.phase not in FINISHED and not is_absent(cluster, pod)
    }
    for box in cluster.newest(ev.SandboxRequested):
        name, place = (box.namespace, box.name), (box.node, box.namespace, box.name)
        pod = seen.get(name)
        if (
            pod is None
            or (pod.kubelet_uid != box.uid or pod.node not in (box.node, ""))
            or (not pod.host_network and pod.phase not in FINISHED and is_absent(cluster, pod))
        ):
            found[place] = by_its_kubelet(cluster, box)
        elif not pod.host_network:
            found[place] = msgspec.structs.replace(pod, node=box.node)
    return found


def by_its_kubelet(cluster: Cluster, box: ev.SandboxRequested) -> ev.PodSeen:
    """The segment decided while the API still showed it stays."""
    given = cluster.table.get(f"ipam.address.{box.node}.{box.namespace}.{box.name}")
    event = given.event if given else None
    segment = event.segment if isinstance(event, ev.AddressAssigned) and event.uid == box.uid else ""
    return ev.PodSeen(
        resource_version="", uid=box.uid, namespace=box.namespace, name=box.name, node=box.node,
        labels={SEGMENT_LABEL: segment},
    )  # fmt: skip


def is_absent(cluster: Cluster, pod: ev.PodSeen) -> bool:
    """An audit found it absent, and no newer event of it is known."""
    return any(
        event.absent
        and (event.namespace, event.name, event.uid) == (pod.namespace, pod.name, pod.kubelet_uid)
        and cluster.table[pod.subject()].seq <= event.covers
        for event in cluster.newest(ev.AddressDisowned)
    )


def could_be_fulfilled(cluster: Cluster, pod: ev.PodSeen) -> bool:
    """A request for addresses only: each in a group of its node, free, and in no assigned block."""
    request = parse_request(pod.annotations)
    if request is None or request.error or request.networks or not request.addresses:
        return False
    placed = next(event for event in cluster.newest(ev.HostPlaced) if event.node == pod.node)
    mine = [parse_prefix(placement.prefix) for placement in placed.placements]
    taken_blocks = unavailable_blocks(cluster)
    taken = set(given(cluster)) | cooling(cluster)
    return all(
        any(inside(address, prefix) for prefix in mine)
        and not any(inside(address, prefix) for prefix in taken_blocks)
        and address not in taken
        and not reserved(cluster, address)
        and may_use(cluster, pod, address)
        for address in request.addresses
    )


def may_use(cluster: Cluster, pod: ev.PodSeen, address: Address) -> bool:
    topology = cluster.state.topology
    order = [topology.networks[at] for at in topology.order(pod.namespace)]
    return any(inside(address, network.prefix) for network in order)


def could_have(cluster: Cluster, pod: ev.PodSeen) -> bool:
    topology = cluster.state.topology
    placed = next(event for event in cluster.newest(ev.HostPlaced) if event.node == pod.node)
    prefixes = {placement.prefix for placement in placed.placements}
    request = parse_request(pod.annotations)
    order = [topology.networks[at] for at in topology.order(pod.namespace)]
    if request and request.networks:
        order = [network for network in order if network.name in request.networks]
    if request and request.retention:
        order = [network for network in order if network.limits.allows("sticky", pod.namespace)]
    mine = [leaf for network in order for leaf in network.leaves if str(leaf.prefix) in prefixes]
    widths = {leaf.prefix.width for leaf in mine}
    return all(
        any(has_free_address(cluster, pod, leaf) for leaf in mine if leaf.prefix.width == width)
        for width in widths
    )


def has_free_address(cluster: Cluster, pod: ev.PodSeen, leaf: Leaf) -> bool:
    taken = set(given(cluster)) | cooling(cluster)
    whose = cluster.settings.block_owner
    owner = (
        "*" if whose == "host" else pod.namespace,
        pod.labels.get(SEGMENT_LABEL, "") if whose == "segment" else "*",
    )
    owned = {event.block: event for event in cluster.newest(ev.BlockAssigned)}
    for event in owned.values():
        block = parse_prefix(event.block)
        if not leaf.prefix.contains(block) or not open_in(cluster, block, taken):
            continue
        empty = not any(inside(address, block) for address in taken)
        if event.node == pod.node and ((event.tenant, event.segment) == owner or empty):
            return True
        if event.node != pod.node and empty and block.length == leaf.block_length:
            return True
    others = unavailable_blocks(cluster)
    size = 1 << (leaf.prefix.width - leaf.block_length)
    for base in range(leaf.prefix.base, leaf.prefix.end, size):
        block = Prefix(leaf.prefix.width, base, leaf.block_length)
        if not any(block.overlaps(other) for other in others) and open_in(cluster, block, set()):
            return True
    return False


def open_in(cluster: Cluster, block: Prefix, taken: set[Address]) -> list[str]:
    """The addresses of the block that may be given out."""
    places = ((block.width, value) for value in range(block.base, block.end))
    return [format_address(*at) for at in places if at not in taken and not reserved(cluster, at)]
