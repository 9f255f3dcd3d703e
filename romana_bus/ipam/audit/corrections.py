"""Corrections: the events that repair an audit's findings, where an event can. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import (
    AddressDisowned,
    ListingAsked,
    ResourceSynced,
    SandboxRemoved,
    SandboxRequested,
    is_much,
)
from romana_bus.ipam.model.nodes import pod_order

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.ipam.audit import Finding
    from romana_bus.ipam.model.state import State

Correction = AddressDisowned | ListingAsked | SandboxRemoved


def corrections(findings: Sequence[Finding], state: State, now: int) -> list[Correction]:
    """Returns the events that correct the findings of two audits in a row: they free addresses. `state`: of
    the later audit. `now`: µs. The addresses of a finished pod are left to the leader of `ipam`."""
    ended: dict[tuple[str, str, str], list[Finding]] = {}
    listings: dict[str, str] = {}
    missing = {
        finding.pod
        for finding in findings
        if finding.kind == "missed" and finding.pod in state.pods and not finding.seen
    }
    # So many missing pods are not believed at once: the new listing decides, as the watcher doubts it too.
    many = is_much(len(missing), len(state.pods))
    for finding in findings:
        absent = finding.kind == "nobody" and finding.absent and not (many and finding.pod in missing)
        if finding.uid and (finding.kind == "owners" or absent):
            ended.setdefault((finding.node, finding.pod, finding.uid), []).append(finding)
        if finding.resource:
            listings.setdefault(finding.resource, f"an audit found: {finding.text}")
    disowned = [
        AddressDisowned(
            namespace=pod_order(pod)[0], name=pod_order(pod)[1], uid=uid, node=node,
            addresses=tuple(dict.fromkeys(finding.address for finding in of_pod)),
            absent=any(finding.absent for finding in of_pod),
            reason=f"an audit found: {of_pod[0].text}", covers=state.facts,
        )
        for (node, pod, uid), of_pod in sorted(ended.items())
    ]  # fmt: skip
    asked = [
        ListingAsked(resource=resource, reason=reason, at=now)
        for resource, reason in sorted(listings.items())
    ]
    return [*disowned, *asked, *(_removal(finding) for finding in findings if finding.kind == "sandbox")]


def _removal(finding: Finding) -> SandboxRemoved:
    """Removes the sandbox request, whichever sandbox it was for."""
    namespace, name = pod_order(finding.pod)
    return SandboxRemoved(
        node=finding.node, namespace=namespace, name=name, uid=finding.uid, sandbox=""
    )  # fmt: skip


def pending(correction: Correction, newest: object, mark: object) -> bool:
    """Whether the correction was ordered before and not carried out yet. `newest`: the newest event of its
    subject. `mark`: the newest `ResourceSynced` of the resource, which names the request that it answers."""
    if isinstance(correction, SandboxRemoved):
        return not (isinstance(newest, SandboxRequested) and newest.uid == correction.uid)
    if isinstance(correction, ListingAsked):
        answered = mark.asked if isinstance(mark, ResourceSynced) else 0
        return isinstance(newest, ListingAsked) and newest.at != answered
    return isinstance(newest, AddressDisowned) and _ends(newest) == _ends(correction)


def _ends(order: AddressDisowned) -> tuple[str, frozenset[str], bool]:
    return order.uid, frozenset(order.addresses), order.absent
