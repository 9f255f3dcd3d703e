"""Which running pods lose their address by another topology, and which an operator says may.

An address has its place where it lies in a group that takes its node. It loses it only by this change:
one that lies in no group now, left there by an earlier change, cannot lose what it does not have; nor
does one whose node moved to another group while the pod runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.errors import BadInput
from romana_bus.events import Eviction
from romana_bus.ipam.model.nodes import misfit, pod_key, pod_order
from romana_bus.ipam.model.sandboxes import bearer
from romana_bus.ipam.model.state import NEEDED
from romana_bus.ipam.topology.document import parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Leaf

#: How many a sentence names.
NAMED = 5


class PodChange(msgspec.Struct, frozen=True, kw_only=True):
    """A running pod, and the addresses of it that lose their place, or have none now."""

    pod: str
    uid: str
    node: str
    addresses: tuple[str, ...]
    group: str = ""
    reason: str = ""

    @property
    def eviction(self) -> Eviction:
        namespace, name = pod_order(self.pod)
        return Eviction(
            namespace=namespace, name=name, uid=self.uid, node=self.node, addresses=self.addresses
        )


def losing(state: State, document: Mapping[str, Any]) -> tuple[PodChange, ...]:
    """The running pods that would lose an address. Raises BadTopology."""
    return tuple(Places(state, parse(document)).pods()[0])


def unfinished(state: State, document: Mapping[str, Any], said: Iterable[Eviction]) -> tuple[Eviction, ...]:
    """Of the evictions that were `said` with the topology in force, those that nobody has carried out yet
    and that this document gives no reason to take back. Raises BadTopology."""
    new = parse(document)
    return tuple(one for one in said if _holds(state, new, one))


def _holds(state: State, new: Topology, one: Eviction) -> bool:
    host = state.hosts.get(one.node)
    record = host.records.get(pod_key(one.namespace, one.name)) if host else None
    if host is None or record is None or record.uid != one.uid:
        return False
    held = [part for part in record.held if part.address in one.addresses]
    leaves = [new.leaf_of(part.block.prefix) for part in held]
    return any(leaf is None or not _takes(new, leaf, host) for leaf in leaves)


class Places:
    """Which addresses have a place in `new`, and which had one."""

    def __init__(self, state: State, new: Topology) -> None:
        self.state, self.new = state, new
        self._of_block: dict[str, tuple[Leaf | None, Leaf | None]] = {}
        self._all_listed = all(state.synced.get(resource) for resource in NEEDED)

    def pods(self) -> tuple[list[PodChange], list[PodChange], int]:
        """Those that lose an address, those that have none to lose, and how many addresses are kept."""
        losing, homeless, kept = [], [], 0
        for _, host in sorted(self.state.hosts.items()):
            for key, record in sorted(host.records.items(), key=lambda entry: pod_order(entry[0])):
                if not record.held or not self._running(host, record):
                    continue
                verdicts = [self._verdict(host, held.block) for held in record.held]
                kept += verdicts.count("")
                if any(verdict for verdict in verdicts if verdict):
                    losing.append(_pod(host, key, record, verdicts, self))
                elif None in verdicts:
                    homeless.append(_pod(host, key, record, verdicts, self))
        return losing, homeless, kept

    def _running(self, host: Host, record: Record) -> bool:
        """What ends anyway loses nothing. Before all is listed that cannot be told."""
        return not self._all_listed or not misfit(host, record, bearer(self.state, host.name, record.key))

    def leaves(self, block: Block) -> tuple[Leaf | None, Leaf | None]:
        """Where it is, and where it would be."""
        if block.text not in self._of_block:
            now, then = self.state.topology.leaf_of(block.prefix), self.new.leaf_of(block.prefix)
            self._of_block[block.text] = (now, then)
        return self._of_block[block.text]

    def _verdict(self, host: Host, block: Block) -> str | None:
        """Why an address of the block loses its place; '' where it keeps it, None where it has none."""
        now, then = self.leaves(block)
        if now is None:
            return None if then is None else ""
        if then is None:
            return "no group contains it"
        if _takes(self.new, then, host) or not _takes(self.state.topology, now, host):
            return ""
        return f"it would be in group {then.group}, which does not take node {host.name}"


def _takes(topology: Topology, leaf: Leaf, host: Host) -> bool:
    network = topology.networks[topology.place[leaf.network]]
    return topology.admits(network, leaf, host.name, host.labels)


def _pod(host: Host, key: str, record: Record, verdicts: list[str | None], places: Places) -> PodChange:
    worst = max((verdict for verdict in verdicts if verdict), default="")
    parts = [held for held, verdict in zip(record.held, verdicts, strict=True)
             if (verdict if worst else verdict is None)]  # fmt: skip
    group = places.leaves(parts[0].block)[0]
    return PodChange(
        pod=key,
        uid=record.uid,
        node=host.name,
        addresses=tuple(held.address for held in parts),
        group=group.group if group else "",
        reason=worst or "it lies in no group now",
    )


def evictions(losing: Sequence[PodChange], asked: Iterable[str]) -> tuple[Eviction, ...]:
    """What ends if all that lose an address are among `asked`: NAMESPACE/POD, NAMESPACE/* or all. Raises
    BadInput: where some are not, and where somebody is asked for that loses nothing."""
    asked = tuple(asked)
    wrong = [reason for one in asked if (reason := _wrong(one, losing))]
    if wrong:
        raise BadInput(*wrong)
    left = [pod for pod in losing if not any(_names(one, pod.pod) for one in asked)]
    if left:
        named = ", ".join(f"{pod.pod} ({' '.join(pod.addresses)} on {pod.node})" for pod in left[:NAMED])
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        pods = f"{len(left)} running pod{'s' if len(left) > 1 else ''}"
        raise BadInput(
            f"not set: the address of {pods} would have no place in it: {named}{more}. "
            "`--evict NAMESPACE/POD`, `--evict NAMESPACE/*` or `--evict all` says that it may end"
        )
    return tuple(pod.eviction for pod in sorted(losing, key=lambda pod: (pod_order(pod.pod), pod.node)))


def _wrong(asked: str, losing: Sequence[PodChange]) -> str:
    if asked == "all":
        return ""
    namespace, slash, name = asked.partition("/")
    if not (namespace and slash and name) or "/" in name:
        return f"--evict {asked}: write NAMESPACE/POD, NAMESPACE/*, or all"
    if any(_names(asked, pod.pod) for pod in losing):
        return ""
    which = f"no running pod of namespace {namespace} loses its" if name == "*" else "it does not lose its"
    return f"--evict {asked}: {which} address by this"


def _names(asked: str, pod: str) -> bool:
    return asked in ("all", pod) or (asked.endswith("/*") and pod.startswith(asked[:-1]))
