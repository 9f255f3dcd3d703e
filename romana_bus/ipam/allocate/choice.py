"""Where a pod's address can come from (networks, groups, owner of the block), and what a choice of one is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.ipam.model.blocks import ALL, OWN, Block
from romana_bus.ipam.model.usage import exhausted_scope

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.inet import Prefix
    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.free_space import FreeSpace
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.records import Cooling

Owner = tuple[str, str]
EVERYBODY: Owner = (ALL, ALL)


class Choice(NamedTuple):
    """An address of the block `prefix`, which becomes `owner`'s. `block`: None where the host does not have
    it yet. `victim`: another host's spare block, which is released for it. `offset`: -1 for the lowest free
    address. `donor`: the host that keeps the address for the pod's name. `adopted`: the pod reports it."""

    owner: Owner
    space: FreeSpace
    prefix: Prefix
    block: Block | None
    offset: int = -1
    victim: Block | None = None
    donor: tuple[Host, Cooling] | None = None
    adopted: bool = False


def owner_of(context: Context, pod: Pod) -> Owner:
    """The tenant and the segment whose blocks serve the pod (setting `block_owner`)."""
    setting = context.state.settings.block_owner
    if setting == "host":
        return EVERYBODY
    return pod.tenant, pod.segment if setting == "segment" else ALL


def networks_for(context: Context, pod: Pod) -> tuple[int, ...]:
    """The networks that the pod's tenant may use, or those of them that it requests, as places in the
    topology."""
    topology = context.index.topology
    order = topology.order(pod.tenant) if topology.particular else topology.everyones
    request = pod.details.request
    if request and request.networks:
        return tuple(place for place in order if topology.networks[place].name in request.networks)
    return order


def families_for(context: Context, pod: Pod, host: Host) -> tuple[tuple[FreeSpace, ...], ...]:
    """For each address family that the pod's networks have on this host: the groups that its address can come
    from, in order of preference."""
    if pod.details.request is None and not context.index.topology.particular:
        return host.spaces
    return context.index.spaces_for(networks_for(context, pod), host.leaves)


def scope_of(context: Context, families: Iterable[tuple[FreeSpace, ...]]) -> str:
    """What is exhausted for a pod whose addresses come from these groups: block, group or network.

    The scope is that of the moment of the denial. A change in other nodes and groups publishes no new one."""
    leaves = [[space.leaf for space in spaces] for spaces in families]
    return exhausted_scope(context.index.topology, leaves, context.free_addresses)


def own_block(pod: Pod) -> Owner:
    """The owner of a block that belongs to this pod alone."""
    return pod.tenant, OWN + pod.key.partition("/")[2]
