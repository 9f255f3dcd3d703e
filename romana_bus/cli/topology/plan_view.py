"""Prints a plan: kept objects as numbers, changed ones by name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from romana_bus.ipam.change.compare import GroupChange, NetworkChange, SlotGrowth
    from romana_bus.ipam.change.plan import Changes

#: The most rows of a table.
SHOWN = 20


def verdict(plan: Changes, changed: bool) -> str:
    """What `apply` would do, in one line."""
    if not changed:
        return "unchanged: this topology is set already"
    if plan.safe:
        return "safe: no running pod is affected"
    pods = console.many(len(plan.losing), "running pod")
    lose = "loses its" if len(plan.losing) == 1 else "lose their"
    return f"{pods} {lose} address: apply needs --evict"


def print_changes(plan: Changes) -> None:
    if plan.problem:
        console.hint(f"The topology in force cannot be used, so nothing of it can be kept: {plan.problem}")
    groups: dict[str, list[GroupChange]] = {}
    for group in plan.groups:
        groups.setdefault(group.network, []).append(group)
    for network in plan.networks:
        console.section(_title(network), *_groups(groups.get(network.network, [])))
    if moved := [host for host in plan.hosts if host.kind != "stays"]:
        table = console.table("node", "", "from", "to", "why")
        for host in moved[:SHOWN]:
            before, after = (
                f"{group} {prefix}" if group else ""
                for group, prefix in ((host.was_group, host.was_prefix), (host.group, host.prefix))
            )
            table.add_row(host.node, host.kind, before, after, host.reason)
        console.section("nodes", table, *_more(len(moved)))
    if plan.losing:
        table = console.table("pod", "node", "address", "why")
        for pod in plan.losing[:SHOWN]:
            table.add_row(pod.pod, pod.node, " ".join(pod.addresses), pod.reason)
        console.section("running pods that lose their address", table, *_more(len(plan.losing)))
    print_summary(plan)


def print_summary(plan: Changes) -> None:
    for line in (*map(_growth, plan.growths), *_summary(plan)):
        console.console.print(Text(line))


def _title(network: NetworkChange) -> str:
    def change(was: Any, now: Any) -> str:
        return str(now) if was == now or not was else str(was) if not now else f"{was} -> {now}"

    return (
        f"network {change(network.was_network, network.network)}  "
        f"{change(network.was_prefix, network.prefix)}, blocks of "
        f"/{change(network.was_block_mask, network.block_mask)}"
        + (f", for {', '.join(network.tenants) or 'everyone'} instead of "
           f"{', '.join(network.was_tenants) or 'everyone'}"
           if network.kind == "changed" and network.tenants != network.was_tenants else "")
        + (f", with other limits: {network.limits}"
           if network.kind == "changed" and network.limits != network.was_limits else "")
        + f": {network.kind}"
    )  # fmt: skip


def _groups(groups: list[GroupChange]) -> Iterator[Table | Text]:
    """The table of all groups, or, if there are many, of those that change."""
    changed = [group for group in groups if group.kind != "kept" or group.renamed or group.relabelled]
    table = console.table("group", "", "now", "then", "")
    for group in groups if len(groups) <= SHOWN else changed[:SHOWN]:
        table.add_row(group.group, group.kind, group.was_prefix, group.prefix, _also(group))
    if table.row_count:
        yield table
    if len(groups) > SHOWN:
        yield from _more(len(changed))
    if len(groups) > SHOWN and len(groups) > len(changed):
        yield Text(f"{console.many(len(groups) - len(changed), 'group')} kept", "dim")


def _also(group: GroupChange) -> str:
    labels = " ".join(f"{key}={value}" for key, value in group.needs.items()) or "any labels"
    parts = [
        f"was {group.was_group}" if group.renamed else "",
        f"now for {labels}" if group.relabelled else "",
    ]
    return ", ".join(filter(None, parts))


def _more(count: int) -> list[Text]:
    return [Text(f"and {console.count(count - SHOWN)} more", "dim")] if count > SHOWN else []


def _growth(level: SlotGrowth) -> str:
    name = f"level {level.group}" if level.group else f"the level of network {level.network}"
    if level.slots < level.was_slots:
        return f"{name} has {level.slots} slots instead of {level.was_slots}"
    times = level.slots // level.was_slots
    part = "the lower half" if times == 2 else f"the first of {times} parts"
    full = "is full" if level.groups == level.was_slots else "has too few slots"
    return (
        f"{name} {full} ({level.groups} of {level.was_slots}): it grows to {level.slots}, "
        f"every group in it keeps {part} of its prefix"
    )


def _summary(plan: Changes) -> Iterator[str]:
    hosts = Counter(host.kind for host in plan.hosts)
    if hosts:
        words = {"stays": "stay", "moves": "move", "placed": "get a place", "unplaced": "without a place"}
        yield "nodes: " + _counted(hosts, words)
    blocks = Counter(block.kind for block in plan.blocks if not block.already)
    blocks["kept"] = plan.blocks_kept
    blocks["left"] = sum(block.already for block in plan.blocks)
    blocks["opened"] = plan.blocks_opened
    yield "blocks: " + _counted(
        blocks,
        {
            "kept": "kept",
            "opened": "opened",
            "ended": "ended (empty)",
            "outside": "outside every group until their addresses are released",
            "elsewhere": "in a group that their node has left, until their addresses are released",
            "left": "left there by an earlier change",
        },
    )
    for view in plan.pinned:
        limit = view.limits.max_per_namespace
        if over := [name for name, count in view.namespaces.items() if count > limit]:
            namespaces = ", ".join(f"{name} ({view.namespaces[name]:,})" for name in over[:5])
            more = f" and {console.count(len(over) - 5)} more" if len(over) > 5 else ""
            yield (
                f"more than {limit:,} fixed and sticky addresses in network {view.network}: "
                f"{namespaces}{more}; they keep them, and get no new ones"
            )
    if plan.shortened:
        kept = console.many(plan.shortened, "address", "addresses")
        yield f"{kept} kept for pods that are gone: for a shorter time than now"
    lost = sum(len(pod.addresses) for pod in plan.losing)
    yield f"addresses: {console.count(plan.addresses_kept)} kept" + (
        f", {console.count(lost)} lost" if lost else ""
    )
    if plan.homeless:
        pods = console.many(len(plan.homeless), "running pod")
        names = _names(plan.homeless)
        yield f"{pods} with an address that is in no group any more keep it until they are gone: {names}"


def _counted(counts: Counter[str], words: dict[str, str]) -> str:
    parts = [f"{console.count(counts[kind])} {text}" for kind, text in words.items() if counts[kind]]
    return ", ".join(parts) or "none"


def _names(pods: Sequence[Any]) -> str:
    named = ", ".join(pod.pod for pod in pods[:5])
    return f"{named} and {console.count(len(pods) - 5)} more" if len(pods) > 5 else named
