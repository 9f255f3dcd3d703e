"""What there is for a pod on its host: whose blocks, of which networks and groups. And what a choice is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.ipam.model.blocks import ALL, OWN, Block
from romana_bus.ipam.model.usage import BLOCK, GROUP, NETWORK

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.free_space import FreeSpace
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.records import Cooling

Owner = tuple[str, str]
EVERYBODY: Owner = (ALL, ALL)


class Choice(NamedTuple):
    """An address of `prefix`, which is to be `owner`'s. `block`: None where the host does not have it
    yet. `victim`: another host's spare block that makes room. `offset`: -1 for the lowest free address.
    `donor`: the host that keeps the address for the pod's name. `adopted`: the pod reports it."""

    owner: Owner
    space: FreeSpace
    prefix: Prefix
    block: Block | None
    offset: int = -1
    victim: Block | None = None
    donor: tuple[Host, Cooling] | None = None
    adopted: bool = False


def owner_of(context: Context, pod: Pod) -> Owner:
    whose = context.state.settings.block_owner
    if whose == "host":
        return EVERYBODY
    return pod.tenant, pod.segment if whose == "segment" else ALL


def networks_for(context: Context, pod: Pod) -> tuple[int, ...]:
    """The places in the topology of the networks that its tenant may use; of those, the ones it names."""
    topology = context.index.topology
    order = topology.order(pod.tenant) if topology.particular else topology.everyones
    wish = pod.asks.wish
    if wish and wish.networks:
        return tuple(at for at in order if topology.networks[at].name in wish.networks)
    return order


def families_for(context: Context, pod: Pod, host: Host) -> tuple[tuple[FreeSpace, ...], ...]:
    """For each address family that the pod's networks offer on this host: the groups that its address
    can come from, in order of preference."""
    if pod.asks.wish is None and not context.index.topology.particular:
        return host.offers
    return context.index.offers(networks_for(context, pod), host.leaves)


def scope_of(context: Context, pod: Pod, host: Host) -> str:
    """The most that is full among the families that the pod needs. It is told as it was at that moment:
    what other nodes and groups have is no reason to tell it again."""
    scopes = [_scope(context, spaces) for spaces in families_for(context, pod, host)]
    return max(scopes, key=(BLOCK, GROUP, NETWORK).index, default="")


def _scope(context: Context, spaces: tuple[FreeSpace, ...]) -> str:
    if any(context.free_addresses(space.leaf) for space in spaces):
        return BLOCK
    networks = {space.leaf.network for space in spaces}
    leaves = (leaf for leaf in context.index.topology.leaves if leaf.network in networks)
    return GROUP if any(map(context.free_addresses, leaves)) else NETWORK


def own_block(pod: Pod) -> Owner:
    """The owner of a block that is this pod's alone."""
    return pod.tenant, OWN + pod.key.partition("/")[2]
