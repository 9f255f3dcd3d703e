"""Findings about addresses: held by no pod, held by two, or other than the pod reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import AddressAssigned
from romana_bus.inet import Prefix, parse_address
from romana_bus.ipam.audit.finding import Finding, records, runs, wants
from romana_bus.ipam.fold.facts import pod_of
from romana_bus.ipam.model.nodes import other_pod
from romana_bus.ipam.model.pods import ABSENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.events import PodSeen
    from romana_bus.ipam.audit.finding import Snapshot
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.records import Record
    from romana_bus.ipam.model.state import State


def held_by_nobody(state: State, snapshot: Snapshot, with_agent: set[str]) -> Iterator[Finding]:
    """Yields the addresses whose pod is not there, and those that differ from what the pod reports.

    On a node without an agent, another plugin may assign addresses: then only reports inside our networks
    count. `with_agent`: the nodes that have one."""
    for host, record in records(state):
        if record.block is None or snapshot.pod_since(state, record.key):
            continue
        if runs(state, host, record) and snapshot.owner(host, record) is None:
            continue
        pod = snapshot.pods.get(record.key)
        reason, absent = _why_nobodys(host, record, pod)
        for held in record.held:
            address = held.address
            if reason:
                yield Finding(
                    kind="nobody", node=host.name, pod=record.key, uid=record.uid, address=address,
                    absent=absent, text=f"{address} of {record.key} on {host.name}: {reason}",
                )  # fmt: skip
                continue
            others = _others(pod, held.block.prefix.width, address) if pod else []
            if others and (host.name in with_agent or any(_inside(state, ip) for ip in others)):
                yield Finding(
                    kind="differs", node=host.name, pod=record.key, uid=record.uid, address=address,
                    text=f"{record.key} on {host.name} was given {address} and reports {', '.join(others)}",
                )  # fmt: skip


def _why_nobodys(host: Host, record: Record, pod: PodSeen | None) -> tuple[str, bool]:
    """Why no pod has the record's addresses, or ''; and whether the API server has no such pod at all."""
    if pod is None:
        return ABSENT, True
    return other_pod(host, record, pod_of(pod)), pod.kubelet_uid != record.uid


def _others(pod: PodSeen, width: int, address: str) -> list[str]:
    """The addresses of the family that the pod reports, if `address` is not one of them."""
    reported = [ip for ip in pod.ips if _width(ip) == width]
    return [] if address in reported else reported


def _inside(state: State, ip: str) -> bool:
    """Whether the address is in one of the networks."""
    try:
        width, value = parse_address(ip)
    except ValueError:
        return False
    return state.topology.network_of(Prefix(width, value, width)) is not None


def _width(ip: str) -> int:
    """The address family, as its width in bits; 0 for a text that is not an address."""
    try:
        return parse_address(ip)[0]
    except ValueError:
        return 0


def with_two_owners(state: State, snapshot: Snapshot) -> Iterator[Finding]:
    """Yields the addresses with two owners: by a refused decision on the log, or by what pods report.

    The finding names the pod that has to lose the address; if that is unclear, an operator has to decide."""
    yield from _refused(state)
    holders: dict[str, tuple[Host, Record]] = {}
    for host, record in records(state):
        for held in record.held if not snapshot.pod_since(state, record.key) else ():
            holders[held.address] = host, record
    reporters: dict[str, list[str]] = {}
    for key, pod in sorted(snapshot.pods.items()):
        for ip in pod.ips if wants(pod) and not snapshot.pod_since(state, key) else ():
            if _inside(state, ip):
                reporters.setdefault(ip, []).append(key)
    for address, keys in sorted(reporters.items()):
        holder = holders.get(address)
        if len({*keys, *([holder[1].key] if holder else [])}) < 2:
            continue
        to = f"; it was given to {holder[1].key}" if holder else ""
        text = f"{address} is reported by {' and '.join(keys)}{to}"
        if holder and _loses(state, *holder, keys, snapshot):
            host, record = holder
            absent = _why_nobodys(host, record, snapshot.pods.get(record.key))[1]
            yield Finding(
                kind="owners", node=host.name, pod=record.key, uid=record.uid, address=address,
                absent=absent, text=text,
            )  # fmt: skip
        else:
            yield Finding(kind="owners", address=address, text=text)


def _refused(state: State) -> Iterator[Finding]:
    """Yields the refused assignments. The leader of `ipam` takes them back."""
    for entity, refusal in sorted(state.refused.items()):
        if isinstance(refusal.event, AddressAssigned):
            _, node, pod = entity
            addresses = ", ".join(given.address for given in refusal.event.addresses)
            text = f"{addresses} was given to {pod} on {node}, though {refusal.reason}"
            yield Finding(kind="owners", node=node, pod=pod, address=addresses, text=text)


def _loses(state: State, host: Host, record: Record, reporters: list[str], snapshot: Snapshot) -> bool:
    """Whether the record has to lose the address: its pod is not there, or exactly one other pod reports it
    and this one does not. If several report it, any of them may run with it."""
    if snapshot.owner(host, record) is None and not runs(state, host, record):
        return True
    return record.key not in reporters and len(reporters) == 1
