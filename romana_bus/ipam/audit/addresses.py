"""Addresses that nobody has, that two have, or that a pod says are others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import Prefix, parse_address
from romana_bus.ipam.audit.finding import Finding, records, wants

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.events import PodSeen
    from romana_bus.ipam.audit.finding import Snapshot
    from romana_bus.ipam.entities import Host
    from romana_bus.ipam.records import Record
    from romana_bus.ipam.state import State


def held_by_nobody(state: State, snapshot: Snapshot, ours: set[str]) -> Iterator[Finding]:
    """Where no agent of ours runs, pods may have their addresses from somebody else: what they report counts
    where it is inside our networks."""
    for host, record in records(state):
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
                continue
            others = _others(pod, held.block.prefix.width, address) if pod else []
            if others and (host.name in ours or any(_inside(state, ip) for ip in others)):
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


def _inside(state: State, ip: str) -> bool:
    """One of our networks."""
    try:
        width, value = parse_address(ip)
    except ValueError:
        return False
    return state.topology.network_of(Prefix(width, value, width)) is not None


def _width(ip: str) -> int:
    try:
        return parse_address(ip)[0]
    except ValueError:
        return 0


def with_two_owners(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    """By the log, and by what pods report. Of two by the log, the one that goes is the one that does not
    report it; where that is not clear, none of them, and a person has to look."""
    holders: dict[str, list[tuple[Host, Record]]] = {}
    for host, record in records(state):
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
            if _inside(state, ip):
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
