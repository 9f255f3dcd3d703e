"""Findings about kernels: addresses that are routed on a node and not assigned there, or the other way round.

A report proves nothing about a pod whose newest address event the node's agent had not read (`State.young`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import IPAM, Wired
from romana_bus.ipam.audit.finding import Finding

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from romana_bus.ipam.audit.finding import Snapshot
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State


def merged(reports: Iterable[Wired]) -> list[Wired]:
    """Returns one report for each node: the addresses of all its reconcilers, as far as all of them have
    read."""
    nodes: dict[str, Wired] = {}
    for report in reports:
        other = nodes.get(report.node, report)
        covers = min(report.covers.get(IPAM, 0), other.covers.get(IPAM, 0))
        nodes[report.node] = Wired(
            node=report.node, consumer="", covers={IPAM: covers}, addresses=other.addresses | report.addresses
        )
    return [report for _, report in sorted(nodes.items())]


def covers(reports: Iterable[Wired]) -> dict[str, int]:
    """Node -> the last sequence of IPAM that its reports cover."""
    return {report.node: report.covers[IPAM] for report in merged(reports)}


def wired_otherwise(state: State, snapshot: Snapshot, reports: Iterable[Wired]) -> Iterator[Finding]:
    """Yields the differences on nodes that exist. (The last report of a deleted node stays on the log.)"""
    for report in merged(reports):
        if report.node in snapshot.nodes:
            yield from _too_much(state, report)
            yield from _too_little(state, snapshot, report)


def _too_much(state: State, report: Wired) -> Iterator[Finding]:
    node, host = report.node, state.hosts.get(report.node)
    held = _held(host)
    cooling = {old.address for record in _records(host) for old in record.cooling}
    for address, pod in sorted(report.addresses.items()):
        owner = held.get(address)
        if pod == owner or (owner is None and address in cooling) or (owner is not None and not pod):
            continue
        if _younger(state, node, pod) or (owner is not None and (node, owner) in state.young):
            continue
        whose = f" for {pod}" if pod else ""
        text = f"{address} is wired on {node}{whose}, and {owner or 'nobody there'} has it"
        yield Finding(kind="kernel", node=node, pod=pod, address=address, text=text)


def _younger(state: State, node: str, pod: str) -> bool:
    """Whether the agent may not have read the end of the pod; of any pod of the node, if `pod` is ''."""
    return (node, pod) in state.young if pod else any(name == node for name, _ in state.young)


def _too_little(state: State, snapshot: Snapshot, report: Wired) -> Iterator[Finding]:
    """Yields the addresses of running pods that are not routed. A pod that only its kubelet knows may not run
    yet."""
    node, host = report.node, state.hosts.get(report.node)
    for record in _records(host):
        seen = snapshot.owner(host, record) if host else None
        if seen is None or seen.phase != "Running" or (node, record.key) in state.young:
            continue
        for held in record.held:
            if (address := held.address) not in report.addresses:
                text = f"{address} of {record.key} is not wired on {node}"
                yield Finding(kind="kernel", node=node, pod=record.key, address=address, text=text)


def _records(host: Host | None) -> list[Record]:
    return [record for _, record in sorted(host.records.items())] if host else []


def _held(host: Host | None) -> dict[str, str]:
    return {address: record.key for record in _records(host) for address in record.addresses}
