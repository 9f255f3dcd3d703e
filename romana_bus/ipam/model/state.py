"""The state of IPAM: facts, decisions, and the index of both.

`ipam.fold` folds events into it. It is rebuilt from the newest message of each subject, in any order. The
first decision builds `index`, which follows from the rest; from then on, it is kept up to date.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from romana_bus.events import IPAM, SPEC, Settings
from romana_bus.events.ipam import ORDER_MEMORY
from romana_bus.inet import Prefix, parse_prefix
from romana_bus.ipam.model.blocks import Block, Overlaps
from romana_bus.ipam.model.nodes import Ended, Gone, Host
from romana_bus.ipam.model.underlay import Excluded, excluded
from romana_bus.ipam.topology.default import default_topology
from romana_bus.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from romana_bus.events import AddressEvent, BlockAssigned, GroupOpened
    from romana_bus.ipam.model.pods import Pod, Sandbox
    from romana_bus.ipam.model.ranges import Ranges
    from romana_bus.ipam.model.records import Cooling, Record
    from romana_bus.ipam.model.underlay import Claim
    from romana_bus.ipam.topology.networks import Topology

NEEDED = ("nodes", "pods")


#: A node and a pod (NAMESPACE/NAME).
Entry = tuple[str, str]


#: ("address", node, pod), ("block", node, block) or ("group", network, group).
Entity = tuple[str, str, str]


class Refusal(NamedTuple):
    """A decision on the log that is ignored, since it contradicts an earlier one. `event`: the decision, at
    IPAM/`seq`. `reason`: what it contradicts."""

    event: AddressEvent | BlockAssigned | GroupOpened
    seq: int
    reason: str


class Dirty:
    """What the next decision has to check.

    `records`: entries whose pod or address changed. `hosts`: hosts that may have to be placed. `spares`:
    hosts whose spare blocks have to be counted. `retry`: entries that were denied an address and may get one
    now.
    """

    def __init__(self) -> None:
        self.records: set[Entry] = set()
        self.hosts: set[str] = set()
        self.spares: set[str] = set()
        self.retry: set[Entry] = set()

    def __bool__(self) -> bool:
        return bool(self.records or self.hosts or self.spares or self.retry)


class Maintained(Protocol):
    """What the state calls on its index (`model/index.py`) to keep it up to date."""

    dirty: Dirty
    stale: bool

    def place_host(self, host: Host) -> None: ...
    def locate(self, block: Block) -> None: ...
    def attach(self, block: Block) -> None: ...
    def detach(self, block: Block) -> None: ...
    def touched(self, block: Block, before: int) -> None: ...
    def replaced(self, host: Host, old: Record | None, new: Record) -> None: ...
    def cooled(self, key: str, cooling: Cooling) -> None: ...
    def kept_changed(self, key: str) -> None: ...
    def update_free(self, block: Block) -> None: ...
    def remember(self, block: Block) -> None: ...
    def forget(self, before: int) -> None: ...


class Tick(msgspec.Struct, frozen=True):
    """The time is `now` (µs since the epoch). An earlier time than the last one is ignored."""

    now: int


class State:
    """Everything that IPAM knows. `evolve` changes it in place; `decide` does so through `evolve`."""

    def __init__(self, settings: Settings | None = None, order_memory: int = ORDER_MEMORY) -> None:
        """`settings`: those that count as long as none are on the log. `order_memory`: in µs."""
        self.settings = settings or Settings()
        #: The sequence of the settings on the log; 0 if there are none.
        self.settings_seq = 0
        self.order_memory = order_memory
        self.now = 0
        self.synced: dict[str, bool] = {}
        #: Resource -> how many entities the API server no longer shows, while the watcher asks again.
        self.doubted: dict[str, int] = {}
        self.hosts: dict[str, Host] = {}
        self.pods: dict[str, Pod] = {}
        self.blocks: dict[str, Block] = {}
        self.overlaps = Overlaps()
        self.gone_nodes, self.gone_pods = Gone(), Gone()
        #: What agents reported of nodes that are not known yet, or no longer.
        self.hostless: Recent[tuple[Claim, ...]] = Recent()
        #: Pod -> node -> the sandbox that the kubelet there requested; and (node, pod) -> the sequence of the
        #: message that removed it, until a decision was taken about that.
        self.sandboxes: dict[str, dict[str, Sandbox]] = {}
        self.removed: dict[tuple[str, str], int] = {}
        #: For an audit, set before anything is folded: node -> the last sequence of IPAM that its reports
        #: cover. `young`: (node, pod) whose newest address event is younger than that.
        self.covers: Mapping[str, int] = {}
        self.young: set[tuple[str, str]] = set()
        self.reserves: dict[str, Prefix] = {}
        self.groups: dict[tuple[str, str], GroupOpened] = {}
        #: The orders to end addresses: evictions, by (node, uid of the pod), and corrections, by (node, pod).
        #: `absent`: the pods that an audit did not find: pod -> node of the correction -> uid, and up to
        #: which sequence of KUBE that counts.
        self.evicted: dict[tuple[str, str], Ended] = {}
        self.disowned: dict[tuple[str, str], Ended] = {}
        self.absent: dict[str, dict[str, tuple[str, int]]] = {}
        #: Decisions on the log that contradict earlier ones, by entity (`decisions.py`). They are ignored
        #: until the next message of their subject, or until what they claim is free.
        self.refused: dict[Entity, Refusal] = {}
        #: The sequence (in KUBE) of the last fact about a pod.
        self.facts = 0
        #: Pod -> the nodes that keep an address for its name.
        self.kept: dict[str, set[str]] = {}
        #: The newest topology document, with its sequence, and the one that decisions were last based on.
        #: `documented`: one of them is in force, and not the default topology.
        self.wanted: dict[str, Any] | None = None
        self.wanted_seq = 0
        self.accepted: dict[str, Any] | None = None
        self.documented = False
        self.to_accept = True  # a `TopologyAccepted` may be due
        #: Why the newest document cannot be used, or ''; and why no document can be used, or ''.
        self.problem = self.blocked = ""
        #: When something has cooled down, and what: (node, pod), or ('', block).
        self.timers: list[int] = []
        self.due: dict[int, list[tuple[str, str]]] = {}
        self.default_prefix = parse_prefix(self.settings.default_network)
        self.topology: Topology = self.default()
        self.index: Maintained | None = None
        self._excluded: Excluded | None = None
        self.swept = 0

    def default(self) -> Topology:
        """The topology that counts where there is no document."""
        return default_topology(self.default_prefix, self.settings.block_mask, self.groups.values())

    @property
    def ready(self) -> bool:
        """Whether decisions may be taken: all nodes and pods were listed, and a topology can be used."""
        return bool(self.synced.get("nodes") and self.synced.get("pods")) and not self.blocked

    @property
    def obstacle(self) -> str:
        """Why no decisions are taken now, or ''."""
        if missing := [resource for resource in NEEDED if not self.synced.get(resource)]:
            return f"not listed in full yet: {', '.join(missing)}"
        return self.blocked

    @property
    def in_force(self) -> dict[str, Any]:
        """The topology document that counts now; empty where none does."""
        if not self.documented:
            return {}
        return (self.accepted if self.problem else self.wanted) or {}

    def host(self, name: str) -> Host:
        """The host of this name; a new one where there is none."""
        host = self.hosts.get(name)
        if host is None:
            host = self.hosts[name] = Host(name, underlay=self.hostless.get(name) or ())
            if host.underlay:
                self.hostless.drop(name)
                self.addresses_changed(host.claimed)
            if self.index is not None:
                self.index.place_host(host)
        return host

    def block(self, text: str) -> Block:
        """The block of this CIDR; a new one where there is none."""
        block = self.blocks.get(text)
        if block is None:
            prefix = parse_prefix(text)
            block = self.blocks[text] = Block(text, prefix, (1 << prefix.size) - 1)
            self.overlaps.add(block)
            if self.index is not None:
                self.index.locate(block)
        return block

    def forget(self, block: Block) -> None:
        del self.blocks[block.text]
        self.overlaps.remove(block)

    def remind(self, until: int, node: str, name: str) -> None:
        """Schedule a check of the node's pod at `until`; or of the block, if `node` is ''."""
        due = self.due.get(until)
        if due is None:
            self.due[until] = [(node, name)]
            heappush(self.timers, until)
        else:
            due.append((node, name))

    def forget_reminders(self) -> None:
        """Forgets the checks that have become unnecessary: the name has other addresses by now."""
        for until, due in list(self.due.items()):
            left = [entry for entry in due if _cools(self, until, *entry)]
            if left:
                self.due[until] = left
            else:
                del self.due[until]
        self.timers = sorted(self.due)

    def touched(self, block: Block, before: int) -> None:
        """Has to be called when addresses of the block change. `before`: its busy bits until then."""
        block.busy = block.used | block.cool | block.reserved
        if self.index is not None:
            self.index.touched(block, before)

    @property
    def excluded(self) -> Excluded:
        """The addresses that no pod is given: reserved ones, and those that nodes live on."""
        if self._excluded is None:
            nodes = ((name, host.claimed) for name, host in sorted(self.hosts.items()))
            self._excluded = excluded(self.reserves.values(), nodes, self.topology)
        return self._excluded

    def reserved_in(self, width: int) -> Ranges:
        """The addresses of one family that no pod is given."""
        return (self._excluded or self.excluded).ranges[width]

    def rebuild(self) -> None:
        """Has to be called when the topology or a reserved range changes: what follows from them is computed
        again."""
        self.index = self._excluded = None

    def addresses_changed(self, claims: Iterable[Claim]) -> None:
        """Has to be called with the addresses that a node got or lost. Costs nothing unless one is inside a
        group of the topology."""
        if any(self.topology.leaf_of(claim.prefix) is not None for claim in claims):
            self._excluded = None
            if self.index is not None:
                self.index.stale = True  # decisions may be going on with it

    def ended(self, host: Host, record: Record) -> Ended | None:
        """The order that ends the record, if there is one."""
        if record.block is None or not (self.evicted or self.disowned):
            return None
        orders = self._orders(host.name, record.key, record.uid)
        return next((order for order in orders if order.ends(record)), None)

    def ended_for(self, node: str, pod: Pod) -> frozenset[str]:
        """The addresses that orders end for this pod."""
        return frozenset().union(*(order.addresses for order in self._orders(node, pod.key, pod.uid)))

    def _orders(self, node: str, key: str, uid: str) -> list[Ended]:
        orders = (self.evicted.get((node, uid)), self.disowned.get((node, key)))
        return [order for order in orders if order and order.uid == uid]

    def drop_if_empty(self, host: Host) -> None:
        if not host.empty:
            return
        self.hosts.pop(host.name, None)
        if host.underlay:
            self.hostless.put(host.name, host.underlay)
            self.addresses_changed(host.claimed)

    def node_cause(self, name: str) -> str:
        """STREAM/SEQUENCE of the newest fact about the node."""
        host = self.hosts.get(name)
        return host.cause if host and host.seen else self.gone_nodes.cause(name)


def refusals(state: State) -> Iterator[tuple[str, int, str, str]]:
    """Yields the messages that are ignored: (stream, sequence, subject, why)."""
    if state.problem:
        yield SPEC, state.wanted_seq, "spec.topology", state.problem
    for _, refusal in sorted(state.refused.items()):
        yield IPAM, refusal.seq, refusal.event.subject(), f"refused: {refusal.reason}"


def wake(state: State) -> int | None:
    """When the next cooldown ends (µs): the earliest time at which `decide` may answer differently without a
    new event. None where nothing cools down."""
    while state.timers:
        until = state.timers[0]
        if any(_cools(state, until, node, name) for node, name in state.due[until]):
            return until
        del state.due[heappop(state.timers)]
    return None


def _cools(state: State, until: int, node: str, name: str) -> bool:
    """Whether an address of the node's pod, or, without a node, the block, cools down until then."""
    if node:
        host = state.hosts.get(node)
        record = host.records.get(name) if host else None
        return record is not None and any(cooling.until == until for cooling in record.cooling)
    block = state.blocks.get(name)
    return block is not None and not block.node and block.free_at == until
