"""A node's state of all hosts: their addresses and their blocks.

Two hosts can claim a block for a moment, since each claim is an entity of its own. The later claim (`since`)
wins, so the order in which the two are read does not matter.
"""

from __future__ import annotations

import contextlib
from sys import intern
from typing import TYPE_CHECKING

import msgspec

from romana_bus.events import BlockAssigned, BlockReleased, HostDenied, HostPlaced, HostRemoved
from romana_bus.inet import V4, V6, Prefix, covering, parse_address, parse_prefix
from romana_bus.routing.routes.aggregate import aggregate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.events import Event

#: (width, value), see inet.
Address = tuple[int, int]
#: The gateway of a nexthop: (width, address, index of the interface).
Via = tuple[int, int, int]


class Host(msgspec.Struct, gc=False, eq=False):
    """One host. `blocks`: all that it claims, each with its `since`. `routes`: the routes to it, as of the
    last derivation."""

    name: str
    addresses: tuple[Address, ...] = ()
    groups: tuple[Prefix, ...] = ()
    blocks: dict[Prefix, int] = {}
    routes: tuple[Prefix, ...] = ()


class State:
    """The fold, and what `derive` made of it: `wanted` (route -> nexthop), `vias` (nexthop -> gateway) and
    `unreachable` (prefixes). `touched`: the hosts whose routes have to be derived again; a dict, since a set
    of strings has another order in each process. `left`: addresses that no longer belong to a host, until the
    kernel's answers about them are forgotten. `refused`: host -> its blocks (of our own node: the groups and
    blocks) that may have no route, with the reason (`Guard`). `unsettled_routes`, `unsettled_nexthops`: those
    that may differ from the kernel's, in the order of their derivation.

    `known`: whether the map contains our own node. While it does not, the map may have been lost and is being
    rebuilt: then routes in the kernel that it does not mention stay (`unswept`). `listed`: whether the map
    says that our own node exists: placed, or denied a place."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.hosts: dict[str, Host] = {}
        self.owners: dict[Prefix, Host] = {}
        self.competing: dict[Prefix, list[Host]] = {}  # other hosts that claim a block; mostly empty
        self.touched: dict[str, None] = {node: None}
        self.left: set[Address] = set()
        self.wanted: dict[Prefix, int] = {}
        self.vias: dict[int, Via] = {}
        self.unreachable: set[Prefix] = set()
        self.refused: dict[str, dict[Prefix, str]] = {}
        self.ids: dict[int, dict[str, int]] = {V4: {}, V6: {}}
        self.unsettled_routes: dict[Prefix, None] = {}
        self.unsettled_nexthops: dict[int, None] = {}
        self.adopted = False
        self.known = False
        self.unswept = False
        self.listed = False

    @property
    def own_blocks(self) -> int:
        """How many blocks this node has."""
        own = self.hosts.get(self.node)
        return len(own.blocks) if own else 0

    @property
    def pods(self) -> tuple[Prefix, ...]:
        """The prefixes of the groups of all hosts: pods have no other addresses."""
        return aggregate({group for host in self.hosts.values() for group in host.groups})

    def touch_all(self) -> None:
        """Mark all hosts as touched."""
        self.touched.update(dict.fromkeys((self.node, *self.hosts)))

    def touch_where(self, addresses: set[Address]) -> None:
        """Mark the hosts with any of these addresses as touched."""
        for name, host in self.hosts.items():
            if not addresses.isdisjoint(host.addresses):
                self.touched[name] = None

    def addresses(self, names: Iterable[str]) -> list[Address]:
        """The addresses of the named hosts, except our own."""
        return [
            address
            for name in names
            if name != self.node and (host := self.hosts.get(name))
            for address in host.addresses
        ]


def evolve(state: State, event: Event, seq: int) -> None:  # noqa: ARG001  all consumers have this signature
    """Fold one event. Takes microseconds, for any number of hosts and blocks."""
    match event:
        case BlockAssigned():
            _claim(state, event.node, parse_prefix(event.block), event.since)
        case BlockReleased():
            _release(state, event.node, parse_prefix(event.block))
        case HostPlaced():
            host = _placed(state, event.node)
            _set_addresses(state, host, tuple(_addresses(event)))
            host.groups = tuple(covering(placement.prefix) for placement in event.placements)
        case HostDenied() | HostRemoved():
            host = _placed(state, event.node, listed=isinstance(event, HostDenied))
            _set_addresses(state, host, ())
            host.groups = ()
            _forget_empty(state, host)


def _host(state: State, name: str) -> Host:
    host = state.hosts.get(name)
    if host is None:
        name = intern(name)
        host = state.hosts[name] = Host(name)
    state.touched[host.name] = None
    return host


def _placed(state: State, name: str, *, listed: bool = True) -> Host:
    if name == state.node:
        state.known, state.listed = True, listed
    return _host(state, name)


def _set_addresses(state: State, host: Host, addresses: tuple[Address, ...]) -> None:
    state.left.update(address for address in host.addresses if address not in addresses)
    host.addresses = addresses


def _addresses(event: HostPlaced) -> Iterator[Address]:
    """The addresses of a host. A kubelet may report texts that are not addresses; they are skipped."""
    for text in event.addresses:
        with contextlib.suppress(ValueError):
            yield parse_address(text)


def _forget_empty(state: State, host: Host) -> None:
    """Forget a host without addresses and blocks; its name stays touched, for `derive`."""
    if not host.addresses and not host.blocks and not host.groups and not host.routes:
        del state.hosts[host.name]


def _claim(state: State, name: str, block: Prefix, since: int) -> None:
    host = _host(state, name)
    host.blocks[block] = since
    owner = state.owners.setdefault(block, host)
    if owner is not host:
        _settle_owner(state, block, [*state.competing.get(block, ()), owner, host])


def _release(state: State, name: str, block: Prefix) -> None:
    host = _host(state, name)
    host.blocks.pop(block, None)
    if block in state.competing:
        _settle_owner(state, block, [state.owners[block], *state.competing[block]])
    elif state.owners.get(block) is host:
        del state.owners[block]
    _forget_empty(state, host)


def _settle_owner(state: State, block: Prefix, claimants: list[Host]) -> None:
    """Set the owner of a block: the latest claim, and of two at the same time the last host by name."""
    claims = {host.name: host for host in claimants if block in host.blocks}
    *competing, owner = sorted(claims.values(), key=lambda host: (host.blocks[block], host.name))
    state.owners[block] = owner
    if competing:
        state.competing[block] = competing
    else:
        del state.competing[block]
    for host in claimants:
        state.touched[host.name] = None
