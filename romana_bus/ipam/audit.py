"""The log held against the API server and the kernels: what does not agree. Pure.

| kind | what |
|---|---|
| nobody | an address whose pod is not in the API server, has finished, or is another one by now |
| without | a pod that wants an address and has none |
| owners | one address with two owners |
| differs | a pod that reports another address than it was given |
| outside | a block in no group, or kept empty in a group that its node has left |
| overlap | blocks that overlap |
| count | an address outside its block, in a block of another node, or counts that do not agree |
| missed | a node or pod that only the log has, or only the API server |
| kernel | an address that a node's kernel has and the log does not, or the other way round |
"""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec

from romana_bus.inet import parse_address
from romana_bus.ipam.entities import pod_key
from romana_bus.ipam.facts import FINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from romana_bus.events import NodeSeen, PodSeen, Wired
    from romana_bus.ipam.blocks import Block
    from romana_bus.ipam.entities import Host
    from romana_bus.ipam.records import Record
    from romana_bus.ipam.state import State

KINDS = ("nobody", "without", "owners", "differs", "outside", "overlap", "count", "missed", "kernel")


class Finding(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """Two looks have found the same where all but `text` is the same. `absent`: no such pod is in the API
    server. `resource`: what of it would have to be listed again."""

    kind: str
    node: str = ""
    pod: str = ""
    uid: str = ""
    address: str = ""
    block: str = ""
    resource: str = ""
    absent: bool = False
    text: str = ""

    @property
    def same(self) -> Finding:
        return msgspec.structs.replace(self, text="")


class Snapshot:
    """What the API server had. `versions`: resource -> that of its listing."""

    def __init__(
        self, nodes: Sequence[NodeSeen], pods: Sequence[PodSeen], versions: Mapping[str, str]
    ) -> None:
        self.nodes = {node.name: node for node in nodes}
        self.pods = {pod_key(pod.namespace, pod.name): pod for pod in pods}
        self.versions = dict(versions)


def doubt(state: State, snapshot: Snapshot) -> str:
    """Why nothing may be concluded from this snapshot, or ''."""
    ours = {host.uid for host in state.hosts.values() if host.seen}
    theirs = {node.uid for node in snapshot.nodes.values()}
    if ours and theirs and not ours & theirs:
        return "the API server is that of another cluster: it has none of the log's nodes"
    for what, here, there in (
        ("nodes", len(ours), len(theirs)),
        ("pods", len(state.pods), len(snapshot.pods)),
    ):
        if here > 10 and there < here / 2:
            return f"the API server gives {there} {what} where the log has {here}: too few to be believed"
    return ""


def findings(state: State, snapshot: Snapshot, wired: Sequence[Wired] = ()) -> list[Finding]:
    """All that does not agree, in order."""
    found = [
        *_missed(state, snapshot),
        *_held(state, snapshot),
        *_owners(state, snapshot),
        *_without(state, snapshot),
        *_blocks(state),
        *_counts(state),
    ]
    for report in wired:
        found += _kernel(state, snapshot, report)
    return sorted(set(found), key=lambda one: (KINDS.index(one.kind), one))


def wants(pod: PodSeen) -> bool:
    return bool(pod.node) and not pod.host_network and pod.phase not in FINISHED


def _records(state: State) -> Iterator[tuple[Host, Record]]:
    for _, host in sorted(state.hosts.items()):
        for _, record in sorted(host.records.items()):
            yield host, record


# --- facts ---------------------------------------------------------------------------------------------


def _missed(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    for name in sorted({name for name, host in state.hosts.items() if host.seen} | set(snapshot.nodes)):
        host, node = state.hosts.get(name), snapshot.nodes.get(name)
        if text := _difference(host.uid if host and host.seen else "", node.uid if node else ""):
            yield Finding(kind="missed", node=name, resource="nodes", text=f"node {name} {text}")
    for key in sorted(set(state.pods) | set(snapshot.pods)):
        pod, seen = state.pods.get(key), snapshot.pods.get(key)
        text = _difference(pod.uid if pod else "", seen.uid if seen else "")
        if not text and pod and seen and (pod.node, not pod.unfit) != (seen.node, wants(seen)):
            text = "changed, and the log does not know"
        if text:
            uid = seen.uid if seen else pod.uid if pod else ""
            yield Finding(kind="missed", pod=key, uid=uid, resource="pods", text=f"pod {key} {text}")


def _difference(log: str, api: str) -> str:
    """Of two uids, '' for none."""
    if log == api:
        return ""
    if not log:
        return "is in the API server and not on the log"
    return (
        "is another one by now, and the log does not know"
        if api
        else "is on the log and not in the API server"
    )


# --- addresses -----------------------------------------------------------------------------------------


def _held(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    for host, record in _records(state):
        if record.block is None:
            continue
        pod = snapshot.pods.get(record.key)
        reason, absent = _why_nobodys(host, record, pod)
        for held in record.held:
            address = held.block.address(held.offset)
            if reason:
                yield Finding(
                    kind="nobody", node=host.name, pod=record.key, uid=record.uid, address=address,
                    absent=absent, text=f"{address} of {record.key} on {host.name}: {reason}",
                )  # fmt: skip
            elif pod and pod.ips and (others := _others(pod, held.block.prefix.width, address)):
                yield Finding(
                    kind="differs", node=host.name, pod=record.key, uid=record.uid, address=address,
                    text=f"{record.key} on {host.name} was given {address} and reports {', '.join(others)}",
                )  # fmt: skip


def _why_nobodys(host: Host, record: Record, pod: PodSeen | None) -> tuple[str, bool]:
    """And whether the pod is not there at all."""
    if pod is None:
        return "the API server has no such pod", True
    if pod.uid != record.uid:
        return "a new pod of the same name took its place", True
    if pod.node != host.name:
        return f"the pod is on {f'node {pod.node}' if pod.node else 'no node'}", False
    return ("" if wants(pod) else "the pod has finished, or uses the host's network"), False


def _others(pod: PodSeen, width: int, address: str) -> list[str]:
    """What it reports of the family, where the address is not among it."""
    reported = [ip for ip in pod.ips if _width(ip) == width]
    return [] if address in reported else reported


def _width(ip: str) -> int:
    try:
        return parse_address(ip)[0]
    except ValueError:
        return 0


def _owners(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    """By the log, and by what pods report. Of two by the log, the one that goes is the one that does not
    report it; where that is not clear, none of them, and a person has to look."""
    holders: dict[str, list[tuple[Host, Record]]] = {}
    for host, record in _records(state):
        for held in record.held:
            holders.setdefault(held.block.address(held.offset), []).append((host, record))
    for address, both in holders.items():
        if len(both) > 1:
            names = " and ".join(f"{record.key} on {host.name}" for host, record in both)
            for host, record in _losers(both, address, snapshot):
                yield Finding(
                    kind="owners", node=host.name, pod=record.key, uid=record.uid, address=address,
                    text=f"{address} was given to {names}",
                )  # fmt: skip
            if not _losers(both, address, snapshot):
                yield Finding(kind="owners", address=address, text=f"{address} was given to {names}")
    reporters: dict[str, list[str]] = {}
    for key, pod in sorted(snapshot.pods.items()):
        for ip in pod.ips if wants(pod) else ():
            reporters.setdefault(ip, []).append(key)
    for address, keys in reporters.items():
        given = [record.key for _, record in holders.get(address, ())]
        everybody = sorted({*keys, *given})
        if len(everybody) > 1 and len(given) < 2:
            said = f"; it was given to {given[0]}" if given else ""
            yield Finding(
                kind="owners", address=address, text=f"{address} is reported by {' and '.join(keys)}{said}"
            )


def _losers(both: list[tuple[Host, Record]], address: str, snapshot: Snapshot) -> list[tuple[Host, Record]]:
    pods = [(one, snapshot.pods.get(one[1].key)) for one in both]
    there = [(one, pod) for one, pod in pods if pod and pod.uid == one[1].uid]
    with_it = [one for one, pod in there if address in pod.ips]
    keepers = with_it if len(with_it) == 1 else [one for one, _ in there] if len(there) == 1 else []
    return [one for one in both if one not in keepers] if keepers else []


def _without(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    for key, pod in sorted(snapshot.pods.items()):
        if not wants(pod):
            continue
        host = state.hosts.get(pod.node)
        record = host.records.get(key) if host else None
        if record is None or record.block is None:
            reason = (record.reason if record else "") or "nothing was decided for it"
            yield Finding(
                kind="without", node=pod.node, pod=key, uid=pod.uid, text=f"{key} on {pod.node}: {reason}"
            )


# --- blocks --------------------------------------------------------------------------------------------


def _blocks(state: State) -> Iterator[Finding]:
    owned = sorted((block for block in state.blocks.values() if block.node), key=lambda block: block.prefix)
    for block in owned:
        leaf = state.topology.leaf_of(block.prefix)
        host = state.hosts[block.node]
        here = {placement.prefix for placement in host.placed.placements} if host.placed else set()
        left = leaf is not None and str(leaf.prefix) not in here and block.idle
        if leaf is None or left:
            where = f"group {leaf.group}, which its node has left" if leaf else "no group"
            text = f"{block.text} of {block.node} is in {where}; {block.used.bit_count()} addresses are used"
            yield Finding(kind="outside", node=block.node, block=block.text, text=text)
    for lower, higher in pairwise(owned):
        if lower.prefix.overlaps(higher.prefix):
            text = f"{lower.text} of {lower.node} and {higher.text} of {higher.node} overlap"
            yield Finding(kind="overlap", node=higher.node, block=higher.text, text=text)


def _counts(state: State) -> Iterator[Finding]:
    given: set[tuple[str, int]] = set()
    for host, record in _records(state):
        for held in record.held:
            given.add((held.block.text, held.offset))
            address = held.block.address(held.offset) if held.offset >= 0 else "an address below it"
            if not 0 <= held.offset < held.block.prefix.size:
                text = f"{address} of {record.key} on {host.name} is outside its block {held.block.text}"
            elif held.block.node != host.name:
                text = f"{address} of {record.key} on {host.name} is in {_whose(held.block)}"
            else:
                continue
            yield Finding(
                kind="count", node=host.name, pod=record.key, uid=record.uid, block=held.block.text, text=text
            )
    counted = Counter(text for text, _ in given)
    for text, block in sorted(state.blocks.items()):
        if block.used.bit_count() != counted[text]:
            said = f"{text}: {block.used.bit_count()} addresses used, {counted[text]} given to pods"
            yield Finding(kind="count", node=block.node, block=text, text=said)


def _whose(block: Block) -> str:
    return f"block {block.text} of {block.node}" if block.node else f"{block.text}, which is nobody's block"


# --- kernels -------------------------------------------------------------------------------------------


def _kernel(state: State, snapshot: Snapshot, report: Wired) -> Iterator[Finding]:
    node, host = report.node, state.hosts.get(report.node)
    records = host.records.values() if host else ()
    held = {one.block.address(one.offset): record.key for record in records for one in record.held}
    cooling = {one.block.address(one.offset) for record in records for one in record.cooling}
    for address, pod in sorted(report.addresses.items()):
        owner = held.get(address)
        if owner is None and address not in cooling:
            text = f"{address} is wired on {node}{f' for {pod}' if pod else ''}, and nobody there has it"
            yield Finding(kind="kernel", node=node, pod=pod, address=address, text=text)
        elif owner is not None and pod not in ("", owner):
            text = f"{address} is wired on {node} for {pod}, and {owner} has it"
            yield Finding(kind="kernel", node=node, pod=pod, address=address, text=text)
    for address, key in sorted(held.items()):
        seen = snapshot.pods.get(key)
        if address not in report.addresses and seen and seen.phase == "Running" and wants(seen):
            text = f"{address} of {key} is not wired on {node}"
            yield Finding(kind="kernel", node=node, pod=key, address=address, text=text)
