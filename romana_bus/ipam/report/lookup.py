"""The lookup of one address, and the reserved ranges. Changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import Prefix, format_address, parse_address
from romana_bus.ipam.model.usage import usage_index
from romana_bus.ipam.report.holdings import Holding, holdings

if TYPE_CHECKING:
    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.model.usage import UsageIndex
    from romana_bus.ipam.topology.tree import Group

#: No pod has the address, and it is not cooling down.
UNHELD = Holding(0, "", "")
USED, COOLING, RESERVED, FREE, KEPT, OUTSIDE = "used", "cooling", "reserved", "free", "kept", "outside"


class ReservedView(msgspec.Struct, frozen=True, kw_only=True):
    """A reserved range. `live`: addresses in it that pods still use; the range is drained once there are
    none. `network`: '' where no network contains the whole range."""

    cidr: str
    network: str
    size: int
    live: int
    cooling: int


class AddressView(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: `used`, `cooling`, `reserved`, `free`, `kept` (for later groups), or `outside` (in no
    network). `node`: the owner of its block. `pod`, `pod_node`: the pod that has it, or had it last while it
    cools down (until `until`, µs). `reserved`: the range that contains it, used or not. `of_node`: what it is
    to a node, such as 'a gateway of node n1'."""

    address: str
    state: str
    network: str = ""
    group: str = ""
    prefix: str = ""
    block: str = ""
    node: str = ""
    pod: str = ""
    pod_node: str = ""
    until: int = 0
    reserved: str = ""
    of_node: str = ""


def reserved(state: State) -> tuple[ReservedView, ...]:
    """The reserved ranges, by address."""
    index = usage_index(state) if state.reserves else {}
    return tuple(_reserved(state, prefix, index[prefix.width]) for prefix in sorted(state.reserves.values()))


def _reserved(state: State, prefix: Prefix, index: UsageIndex) -> ReservedView:
    network, usage = state.topology.network_of(prefix), index.usage(prefix)
    return ReservedView(
        cidr=str(prefix), network=network.name if network else "", size=prefix.size,
        live=usage.used, cooling=usage.cooling,
    )  # fmt: skip


def address(state: State, text: str) -> AddressView:
    """Looks one address up. Raises ValueError where `text` is not an address."""
    width, value = parse_address(text)
    prefix = Prefix(width, value, width)
    network, leaf = state.topology.network_of(prefix), state.topology.leaf_of(prefix)
    block = _block(state, prefix)
    _, pod, node, until = _holder(state, prefix)
    range_ = next((text for text, other in state.reserves.items() if other.contains(prefix)), "")
    group = _smallest_group(network.tree, prefix) if network and network.tree else None
    of_node = state.excluded.nodes.get((width, value), "")
    kind = USED if pod and not until else COOLING if pod else RESERVED if range_ or of_node else ""
    return AddressView(
        address=format_address(width, value),
        state=kind or (FREE if leaf else KEPT if network else OUTSIDE),
        network=network.name if network else "",
        group=group.path if group else "",
        prefix=str(group.prefix) if group else "",
        block=block.text if block else "",
        node=block.node if block else "",
        pod=pod,
        pod_node=node,
        until=until,
        reserved=range_,
        of_node=of_node,
    )


def _block(state: State, prefix: Prefix) -> Block | None:
    """The smallest block that contains the prefix, and belongs to a node or is in use."""
    around = [b for b in state.blocks.values() if (b.node or not b.idle) and b.prefix.contains(prefix)]
    return max(around, key=lambda block: block.prefix.length, default=None)


def _holder(state: State, address: Prefix) -> Holding:
    """The pod that uses the address, or else the one that cools down last; one without a name for none."""
    held = list(holdings(state, address))
    used = [holding for holding in held if not holding.until]
    return used[0] if used else max(held, key=lambda holding: holding.until, default=UNHELD)


def _smallest_group(group: Group, prefix: Prefix) -> Group:
    """The smallest group that contains the prefix, closed or not."""
    inner = next((inner for inner in group.groups if inner.prefix.contains(prefix)), None)
    return group if inner is None else _smallest_group(inner, prefix)
