"""A cluster in memory: facts in, decisions out, with the log and the table that they leave behind."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.events.ipam import ORDER_MEMORY
from romana_bus.ipam import Decision, Settings, State, Tick, decide, evolve

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable, Iterator, Mapping

E = TypeVar("E", bound=ev.Event)


class Stored(NamedTuple):
    role: str
    seq: int
    event: ev.Event
    time: int
    cause: str = ""


class Cluster:
    """`synced`: nodes and pods are listed in full from the start, so that decisions are taken."""

    def __init__(
        self,
        topology: dict[str, Any] | None = None,
        *,
        synced: bool = True,
        now: int = 1_000,
        order_memory: int = ORDER_MEMORY,
        **settings: Any,
    ) -> None:
        self.settings, self.order_memory = Settings(**settings), order_memory
        self.state = State(self.settings, order_memory)
        self.seqs: Counter[str] = Counter()
        self.log: list[Stored] = []
        self.table: dict[str, Stored] = {}
        self.versions = 0
        self.numbers: dict[str, int] = {}  # of nodes, in the order in which they were first seen
        self.tick(now)
        if topology is not None:
            self.send(ev.TopologySet(document=topology))
        if synced:
            self.sync()

    # --- what goes in ---

    def send(self, *events: ev.Event) -> None:
        for event in events:
            self.store(event)
            evolve(self.state, event, self.seqs[event.role])

    def store(self, event: ev.Event, cause: str = "") -> None:
        self.seqs[event.role] += 1
        stored = Stored(event.role, self.seqs[event.role], event, self.state.now, cause)
        self.log.append(stored)
        self.table[event.subject()] = stored

    def sync(self, *resources: str) -> None:
        for resource in resources or ("nodes", "pods"):
            self.send(ev.ResourceSynced(resource=resource, resource_version="1", count=0))

    def tick(self, seconds: float) -> None:
        """Time goes to `seconds`."""
        evolve(self.state, Tick(int(seconds * SECOND)))

    def later(self, seconds: float) -> None:
        evolve(self.state, Tick(self.state.now + int(seconds * SECOND)))

    def version(self) -> str:
        self.versions += 1
        return str(self.versions)

    def node(
        self,
        name: str,
        labels: dict[str, str] | None = None,
        uid: str = "",
        addresses: tuple[str, ...] | None = None,
    ) -> None:
        number = self.numbers.setdefault(name, len(self.numbers) + 1)
        if addresses is None:
            addresses = (f"192.168.{number >> 8}.{number & 255}", f"fc00:ff::{number:x}")
        self.send(
            ev.NodeSeen(
                resource_version=self.version(), uid=uid or f"uid-{name}", name=name,
                addresses=addresses, labels=labels or {},
            )
        )  # fmt: skip

    def no_node(self, name: str) -> None:
        self.send(ev.NodeGone(resource_version=self.version(), uid=f"uid-{name}", name=name))

    def lives_on(self, node: str, **reported: Any) -> None:
        """The node's agent reports it."""
        self.send(ev.NodeNetwork(node=node, consumer="network", **reported))

    def pod(self, key: str, node: str, segment: str = "", **more: Any) -> None:
        """`key`: NAMESPACE/NAME."""
        namespace, _, name = key.partition("/")
        labels = {"romana.io/segment": segment} if segment else {}
        more = {"uid": f"uid-{key}", "labels": labels, "phase": "Running", **more}
        self.send(
            ev.PodSeen(resource_version=self.version(), namespace=namespace, name=name, node=node, **more)
        )

    def no_pod(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        self.send(
            ev.PodGone(resource_version=self.version(), uid=f"uid-{key}", namespace=namespace, name=name)
        )

    def sandbox(self, key: str, node: str, uid: str = "") -> None:
        """The kubelet of the node asks for one."""
        self.send(ev.SandboxRequested(**self._sandbox(key, node, uid)))

    def no_sandbox(self, key: str, node: str, uid: str = "") -> None:
        self.send(ev.SandboxRemoved(**self._sandbox(key, node, uid)))

    def _sandbox(self, key: str, node: str, uid: str) -> dict[str, str]:
        namespace, _, name = key.partition("/")
        uid = uid or f"uid-{key}"
        return {"node": node, "namespace": namespace, "name": name, "uid": uid, "sandbox": f"box of {uid}"}

    # --- what comes out ---

    def decide(self) -> list[Decision]:
        """What was decided, but for by which topology: that is said once. `before`: what every entity had
        until then."""
        self.before = {event.subject(): addresses(event) for event in self.newest(ev.AddressAssigned)}
        self.cooled_before = cooled(self)
        self.pinned_before = pinned(self)
        decisions = decide(self.state)
        for decision in decisions:
            self.store(*decision)
        assert decide(self.state) == [], "a repeated decision has to yield nothing"
        return [one for one in decisions if not isinstance(one.event, ev.TopologyAccepted)]

    def says(self) -> list[str]:
        return [say(decision.event) for decision in self.decide()]

    def causes(self) -> list[str]:
        return [f"{decision.cause}: {say(decision.event)}" for decision in self.decide()]

    def addresses(self) -> dict[str, str]:
        """POD -> its addresses, by the table."""
        return {
            f"{event.namespace}/{event.name}": addresses(event) for event in self.newest(ev.AddressAssigned)
        }

    def denied(self) -> dict[str, str]:
        return {f"{event.namespace}/{event.name}": event.code for event in self.newest(ev.AddressDenied)}

    def blocks(self) -> dict[str, str]:
        return {event.block: event.node for event in self.newest(ev.BlockAssigned)}

    def newest(self, kind: type[E]) -> list[E]:
        return [stored.event for _, stored in sorted(self.table.items()) if isinstance(stored.event, kind)]

    # --- another reader of the same table ---

    def rebuilt(self, order: random.Random | None = None, covers: Mapping[str, int] | None = None) -> Cluster:
        """What a process that boots from the table would know: the newest message of each subject, without
        the tombstones that say nothing any more; with an `order`, every other one of those is still there.
        The messages of one stream come in their order, those of several in any (`order`). `covers`: of an
        audit."""
        other = Cluster.__new__(Cluster)
        other.settings, other.order_memory = self.settings, self.order_memory
        other.state = State(self.settings, self.order_memory)
        other.state.covers = covers or {}
        other.seqs, other.log, other.versions = self.seqs.copy(), list(self.log), self.versions
        other.numbers = dict(self.numbers)
        other.table = {
            subject: stored
            for subject, stored in self.table.items()
            if not is_due(self.state, stored) or (order is not None and order.random() < 0.5)
        }
        for stored in _interleaved(other.table.values(), order):
            evolve(other.state, stored.event, stored.seq)
        evolve(other.state, Tick(self.state.now))
        return other


#: A tombstone is read for what it says within this time. µs.
GRACE = 600 * SECOND


def is_due(state: State, stored: Stored) -> bool:
    """Whether a tombstone says nothing any more, so that it makes no difference whether the table has it."""
    until = max(stored.time + GRACE, stored.event.needed_until())
    cause = f"{stored.role}/{stored.seq}"
    counts = any(order.cause == cause for order in state.disowned.values())
    return stored.event.tombstone and until < state.now and not counts


def _interleaved(messages: Iterable[Stored], order: random.Random | None) -> Iterator[Stored]:
    streams: dict[str, list[Stored]] = {}
    for stored in sorted(messages, key=lambda one: -one.seq):
        streams.setdefault(stored.role, []).append(stored)
    roles = sorted(role for role, left in streams.items() for _ in left)
    if order is not None:
        order.shuffle(roles)
    for role in roles:
        yield streams[role].pop()


def addresses(event: ev.AddressAssigned) -> str:
    return " ".join(address.address for address in event.addresses)


def cooled(cluster: Cluster) -> set[tuple[str, str, str]]:
    """Subject, uid and address of pods that had an address which still cools down."""
    return {
        (event.subject(), old.uid or event.uid, old.address)
        for kind in (ev.AddressAssigned, ev.AddressReleased, ev.AddressDenied)
        for event in cluster.newest(kind)
        for old in event.cooling
    }


def pinned(cluster: Cluster) -> dict[str, str]:
    """Address -> the namespace that has it as a fixed or sticky one, or whose pod's name it is kept for."""
    found = {}
    for kind in (ev.AddressAssigned, ev.AddressDenied, ev.AddressReleased):
        for event in cluster.newest(kind):
            kept = [one.address for one in event.cooling if one.kept and one.until > cluster.state.now]
            if isinstance(event, ev.AddressAssigned):
                kept += [one.address for one in event.addresses if one.fixed or event.retention]
            found.update(dict.fromkeys(kept, event.namespace))
    return found


def say(event: ev.Event) -> str:
    """One line for one decision, as a person would write it down."""
    match event:
        case ev.GroupOpened():
            return f"group {event.group} is {event.prefix}"
        case ev.HostPlaced():
            places = ", ".join(f"{at.network} {at.group} {at.prefix}" for at in event.placements)
            return f"{event.node} is in {places}"
        case ev.HostDenied():
            return f"{event.node} is nowhere: {event.reason}"
        case ev.HostRemoved():
            return f"{event.node} is removed"
        case ev.BlockAssigned():
            owner = "" if event.tenant == "*" else f" for {event.tenant}"
            owner += "" if event.segment == "*" else f" {event.segment or '-'}"
            return f"{event.block} to {event.node}{owner}"
        case ev.BlockReleased():
            return f"{event.block} from {event.node}"
        case ev.AddressAssigned():
            return f"{event.namespace}/{event.name} on {event.node}: {addresses(event)}"
        case ev.AddressDenied():
            return f"{event.namespace}/{event.name} on {event.node}: {event.code}"
        case ev.AddressReleased():
            return f"{event.namespace}/{event.name} on {event.node}: released, {event.reason}"
    raise AssertionError(event)


def topology(cidr: str = "10.0.0.0/24", block_mask: int = 30, *groups: dict[str, Any]) -> dict[str, Any]:
    """A document with one network."""
    entries = list(groups) or [{"name": "all", "groups": []}]
    return {
        "networks": [{"name": "net", "cidr": cidr, "block_mask": block_mask}],
        "topologies": [{"networks": ["net"], "map": entries}],
    }
