"""The limits of what pods request: who may, how many, and which blocks may be broken up for it.

The words of a denial are the same as long as its reason is, so it is published once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.ipam.model.waiting import BROKEN, SHARE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.ipam.allocate.choice import Choice
    from romana_bus.ipam.allocate.context import Context
    from romana_bus.ipam.model.free_space import FreeSpace
    from romana_bus.ipam.model.nodes import Host
    from romana_bus.ipam.model.pods import Pod
    from romana_bus.ipam.model.waiting import Target


class Unmet(NamedTuple):
    """Why a request cannot be met, for people; and the code of the denial."""

    reason: str
    code: str = "wish"


def not_allowed(context: Context, pod: Pod, space: FreeSpace, fixed: bool = False) -> Unmet | None:
    """Why the pod's namespace cannot request such an address in the space's network; None where it can."""
    limits = context.index.topology.limits_of(space.leaf.number)
    requested = {"fixed": fixed, "sticky": bool(pod.request and pod.request.retention)}
    for kind, wanted in requested.items():
        if wanted and not limits.allows(kind, pod.tenant):
            return Unmet(
                f"network {space.leaf.network} has no {kind} addresses for namespace {pod.tenant}: remove "
                f"the annotation, or add the namespace to wishes.{kind} of the network",
                "wish_limit",
            )
    return None


def over_limit(context: Context, pod: Pod, space: FreeSpace, watch: set[Target]) -> Unmet | None:
    """Why the namespace cannot have one more fixed or sticky address in the network; None where it can."""
    topology, leaf = context.index.topology, space.leaf
    place = topology.place_of(leaf.number)
    watch.add((SHARE, pod.tenant, place))
    if not context.index.pinned.over_limit(pod.tenant, place):
        return None
    limit = topology.limits_of(leaf.number).max_per_namespace
    return Unmet(
        f"namespace {pod.tenant} has all of the {limit:,} fixed and sticky addresses that it may have in "
        f"network {leaf.network}, with those kept for pods that are gone: remove one, or raise "
        "wishes.max_per_namespace",
        "wish_limit",
    )


def why_not_retained(context: Context, pod: Pod, host: Host, choices: Iterable[Choice]) -> str:
    """Why the chosen addresses may not be kept for the name of a sticky pod, or ''. They may where each one
    is kept for it already, or its namespace may have one more."""
    request = pod.details.request
    if request is None or not request.retention:
        return ""
    record = host.records.get(pod.key)
    kept = {(old.block, old.offset) for old in record.cooling if old.kept} if record else set()
    for choice in choices:
        is_kept = choice.donor is not None or (choice.block, choice.offset) in kept
        if not is_kept and (over := over_limit(context, pod, choice.space, set())):
            return over.reason
    return ""


def too_broken(
    context: Context, space: FreeSpace, choice: Choice, address: str, watch: set[Target]
) -> Unmet | None:
    """Why no block can be made for this one address: its group has as many broken blocks as it may have; None
    where it can."""
    leaf = space.leaf
    if choice.block is not None or choice.prefix.size > 1:
        return None
    watch.add((BROKEN, "", leaf.number))
    if context.index.pinned.may_break(leaf, choice.prefix.base):
        return None
    limits = context.index.topology.limits_of(leaf.number)
    return Unmet(
        f"{address} would break up one more block of group {leaf.group}, {leaf.prefix}, and fixed and sticky "
        f"addresses may break up {limits.max_broken_blocks}% of its blocks: request an address in a block "
        "that is broken up already, or raise wishes.max_broken_blocks",
        "wish_limit",
    )
