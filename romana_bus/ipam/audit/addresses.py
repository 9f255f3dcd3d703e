"""Addresses that nobody has, that two have, or that a pod says are others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.inet import Prefix, parse_address
from romana_bus.ipam.audit.finding import Finding, records, runs, wants

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
        if record.block is None or snapshot.pod_since(state, record.key):
            continue
        if runs(state, host, record) and snapshot.owner(host, record) is None:
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
    if pod.kubelet_uid != record.uid:
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
    """By the log, and by what pods report: told for each that is to lose it, or, where that is not clear,
    once, and a person has to look."""
    holders: dict[str, list[tuple[Host, Record]]] = {}
    for host, record in records(state):
        for held in record.held if not snapshot.pod_since(state, record.key) else ():
            holders.setdefault(held.block.address(held.offset), []).append((host, record))
    reporters: dict[str, list[str]] = {}
    for key, pod in sorted(snapshot.pods.items()):
        for ip in pod.ips if wants(pod) and not snapshot.pod_since(state, key) else ():
            if _inside(state, ip):
                reporters.setdefault(ip, []).append(key)
    for address in sorted(holders.keys() | reporters.keys()):
        given, keys = holders.get(address, []), reporters.get(address, [])
        if len(given) < 2 and len({*keys, *(record.key for _, record in given)}) < 2:
            continue
        text = f"{address} {_said(given, keys)}"
        losers = _losers(state, given, keys, snapshot)
        for host, record in losers:
            absent = _why_nobodys(host, record, snapshot.pods.get(record.key))[1]
            yield Finding(
                kind="owners", node=host.name, pod=record.key, uid=record.uid, address=address,
                absent=absent, text=text,
            )  # fmt: skip
        if not losers:
            yield Finding(kind="owners", address=address, text=text)


def _said(given: list[tuple[Host, Record]], reporters: list[str]) -> str:
    if len(given) > 1:
        return f"was given to {' and '.join(f'{record.key} on {host.name}' for host, record in given)}"
    to = f"; it was given to {given[0][1].key}" if given else ""
    return f"is reported by {' and '.join(reporters)}{to}"


def _losers(
    state: State, given: list[tuple[Host, Record]], reporters: list[str], snapshot: Snapshot
) -> list[tuple[Host, Record]]:
    """Those whose pod is not there; and where just one pod reports it, those that do not. Where several do,
    or nobody, any of them might be the one that runs with it."""
    there = [one for one in given if snapshot.owner(*one) is not None or runs(state, *one)]
    gone = [one for one in given if one not in there]
    idle = [one for one in there if one[1].key not in reporters]
    return gone + (idle if len(reporters) == 1 else [])
