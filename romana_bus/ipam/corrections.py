"""What an audit's findings come to: the events that correct them, where something can. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import AddressDisowned, ListingAsked
from romana_bus.ipam.entities import pod_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from romana_bus.ipam.audit import Finding

Correction = AddressDisowned | ListingAsked


def corrections(findings: Iterable[Finding], versions: Mapping[str, str], at: int) -> list[Correction]:
    """`versions`: of the later look's listings; `at`: now (µs). Only for findings of two looks: this frees
    addresses. What a pod that has finished still holds is freed by whoever decides, once the log knows."""
    ended: dict[tuple[str, str, str, bool], list[str]] = {}
    reasons: dict[tuple[str, str, str, bool], str] = {}
    listings: dict[str, str] = {}
    for one in findings:
        if one.uid and (one.kind == "owners" or (one.kind == "nobody" and one.absent)):
            whose = (one.node, one.pod, one.uid, one.absent)
            ended.setdefault(whose, []).append(one.address)
            reasons.setdefault(whose, f"an audit found: {one.text}")
        if one.resource:
            listings.setdefault(one.resource, f"an audit found: {one.text}")
    disowned = [
        AddressDisowned(
            namespace=pod_order(pod)[0], name=pod_order(pod)[1], uid=uid, node=node,
            addresses=tuple(addresses), reason=reasons[node, pod, uid, absent], absent=absent,
            resource_version=versions.get("pods", ""),
        )
        for (node, pod, uid, absent), addresses in sorted(ended.items())
    ]  # fmt: skip
    asked = [
        ListingAsked(resource=resource, reason=reason, at=at) for resource, reason in sorted(listings.items())
    ]
    return [*disowned, *asked]


def pending(correction: Correction, newest: object) -> bool:
    """Whether it was ordered already, and need not be once more. A listing that was asked for a while ago
    (µs) and has changed nothing is."""
    if isinstance(correction, ListingAsked):
        return isinstance(newest, ListingAsked) and correction.at - newest.at < AGAIN
    return isinstance(newest, AddressDisowned) and (newest.uid, newest.addresses) == (
        correction.uid,
        correction.addresses,
    )


#: µs after which a listing is asked for again.
AGAIN = 60 * 1_000_000
