"""What an audit's findings come to: the events that correct them, where something can. Pure."""

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

    from romana_bus.ipam import State
    from romana_bus.ipam.audit import Finding

Correction = AddressDisowned | ListingAsked | SandboxRemoved


def corrections(findings: Sequence[Finding], state: State, at: int) -> list[Correction]:
    """`state`: of the later look; `at`: now (µs). Only for findings of two looks: this frees addresses. What
    a pod that has finished still holds is freed by whoever decides, once the log knows."""
    ended: dict[tuple[str, str, str], list[Finding]] = {}
    listings: dict[str, str] = {}
    missing = {one.pod for one in findings if one.kind == "missed" and one.pod in state.pods and not one.seen}
    # Then the listing that is asked for decides: it is doubted as every one that lacks as much.
    many = is_much(len(missing), len(state.pods))
    for one in findings:
        absent = one.kind == "nobody" and one.absent and not (many and one.pod in missing)
        if one.uid and (one.kind == "owners" or absent):
            ended.setdefault((one.node, one.pod, one.uid), []).append(one)
        if one.resource:
            listings.setdefault(one.resource, f"an audit found: {one.text}")
    disowned = [
        AddressDisowned(
            namespace=pod_order(pod)[0], name=pod_order(pod)[1], uid=uid, node=node,
            addresses=tuple(dict.fromkeys(one.address for one in found)),
            absent=any(one.absent for one in found),
            reason=f"an audit found: {found[0].text}", covers=state.facts,
        )
        for (node, pod, uid), found in sorted(ended.items())
    ]  # fmt: skip
    asked = [
        ListingAsked(resource=resource, reason=reason, at=at) for resource, reason in sorted(listings.items())
    ]
    return [*disowned, *asked, *(_taken_back(one) for one in findings if one.kind == "sandbox")]


def _taken_back(one: Finding) -> SandboxRemoved:
    """Whichever sandbox it was."""
    namespace, name = pod_order(one.pod)
    return SandboxRemoved(node=one.node, namespace=namespace, name=name, uid=one.uid, sandbox="")


def pending(correction: Correction, newest: object, mark: object) -> bool:
    """Whether it was ordered already, and nobody has done it. `newest`: of its subject. `mark`: that of the
    resource, which repeats the request that it answers."""
    if isinstance(correction, SandboxRemoved):
        return not (isinstance(newest, SandboxRequested) and newest.uid == correction.uid)
    if isinstance(correction, ListingAsked):
        answered = mark.asked if isinstance(mark, ResourceSynced) else 0
        return isinstance(newest, ListingAsked) and newest.at != answered
    return isinstance(newest, AddressDisowned) and _ends(newest) == _ends(correction)


def _ends(order: AddressDisowned) -> tuple[str, frozenset[str], bool]:
    return order.uid, frozenset(order.addresses), order.absent
