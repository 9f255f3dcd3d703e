"""Evictions: which running pods lose their address by a new topology, and which of them an operator allows.

An address keeps its place if it lies in a group that takes its node. It loses its place only by this change:
an address outside every group was left there by an earlier change, and has no place to lose. The same holds
for an address whose node has moved to another group.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.errors import BadInput
from romana_bus.events import Eviction
from romana_bus.ipam.model.nodes import misfit, pod_key, pod_order
from romana_bus.ipam.model.sandboxes import bearer
from romana_bus.ipam.model.state import NEEDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from romana_bus.ipam.model.blocks import Block
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State
    from romana_bus.ipam.topology.networks import Topology
    from romana_bus.ipam.topology.tree import Leaf

#: How many pods a message names.
NAMED = 5


class PodChange(msgspec.Struct, frozen=True, kw_only=True):
    """A running pod, and those of its addresses that lose their place, or have none now."""

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


def losing(state: State, new: Topology) -> tuple[PodChange, ...]:
    """Returns the running pods that would lose an address by the topology `new`."""
    return tuple(PlacementCheck(state, new).pods()[0])


def unfinished(state: State, new: Topology, ordered: Iterable[Eviction]) -> tuple[Eviction, ...]:
    """Returns the evictions that were `ordered` with the topology in force, have not been carried out yet,
    and are still needed by the topology `new`."""
    return tuple(eviction for eviction in ordered if _is_needed(state, new, eviction))


def _is_needed(state: State, new: Topology, eviction: Eviction) -> bool:
    host = state.hosts.get(eviction.node)
    record = host.records.get(pod_key(eviction.namespace, eviction.name)) if host else None
    if host is None or record is None or record.uid != eviction.uid:
        return False
    leaves = [new.leaf_of(held.block.prefix) for held in record.held if held.address in eviction.addresses]
    return any(leaf is None or not _takes(new, leaf, host) for leaf in leaves)


class PlacementCheck:
    """Checks which addresses have a place in the topology `new`."""

    def __init__(self, state: State, new: Topology) -> None:
        self.state, self.new = state, new
        self._leaves: dict[str, tuple[Leaf | None, Leaf | None]] = {}
        self._all_listed = all(state.synced.get(resource) for resource in NEEDED)

    def pods(self) -> tuple[list[PodChange], list[PodChange], int]:
        """Returns the pods that lose an address, those whose address has no place now, and how many addresses
        are kept."""
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
        """Whether the record does not end anyway. Before all pods are listed, every record counts as
        running."""
        return not self._all_listed or not misfit(host, record, bearer(self.state, host.name, record.key))

    def leaves(self, block: Block) -> tuple[Leaf | None, Leaf | None]:
        """The leaf that the block is in now, and in the new topology."""
        if block.text not in self._leaves:
            now, then = self.state.topology.leaf_of(block.prefix), self.new.leaf_of(block.prefix)
            self._leaves[block.text] = (now, then)
        return self._leaves[block.text]

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
    """Whether the host can be placed in the leaf."""
    network = topology.networks[topology.place[leaf.network]]
    return topology.admits(network, leaf, host.name, host.labels)


def _pod(
    host: Host, key: str, record: Record, verdicts: list[str | None], check: PlacementCheck
) -> PodChange:
    worst = max((verdict for verdict in verdicts if verdict), default="")
    parts = [held for held, verdict in zip(record.held, verdicts, strict=True)
             if (verdict if worst else verdict is None)]  # fmt: skip
    group = check.leaves(parts[0].block)[0]
    return PodChange(
        pod=key,
        uid=record.uid,
        node=host.name,
        addresses=tuple(held.address for held in parts),
        group=group.group if group else "",
        reason=worst or "it lies in no group now",
    )


def evictions(losing: Sequence[PodChange], asked: Iterable[str]) -> tuple[Eviction, ...]:
    """Returns the evictions, if `asked` (NAMESPACE/POD, NAMESPACE/* or all) names every pod that loses an
    address. Raises BadInput where it does not, or where it names a pod that loses nothing."""
    asked = tuple(asked)
    wrong = [reason for pattern in asked if (reason := _wrong(pattern, losing))]
    if wrong:
        raise BadInput(*wrong)
    left = [pod for pod in losing if not any(_names(pattern, pod.pod) for pattern in asked)]
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
