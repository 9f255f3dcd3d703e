"""A plan for people: what is kept in numbers, what changes by name."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from romana_bus.ipam.change.compare import GroupChange, Growth, NetworkChange
    from romana_bus.ipam.change.plan import Changes

#: Lines of one table.
SHOWN = 20


def verdict(found: Changes, changed: bool) -> str:
    """What `apply` would do."""
    if not changed:
        return "unchanged: it is this one already"
    if found.safe:
        return "safe: no running pod is affected"
    pods = console.many(len(found.losing), "running pod")
    lose = "loses its" if len(found.losing) == 1 else "lose their"
    return f"{pods} {lose} address: apply needs --evict"


def print_changes(found: Changes) -> None:
    if found.problem:
        console.hint(f"The topology in force is not usable, so nothing of it can be kept: {found.problem}")
    groups: dict[str, list[GroupChange]] = {}
    for group in found.groups:
        groups.setdefault(group.network, []).append(group)
    for network in found.networks:
        console.section(_title(network), *_groups(groups.get(network.network, [])))
    if moved := [host for host in found.hosts if host.kind != "stays"]:
        table = console.table("node", "", "from", "to", "why")
        for host in moved[:SHOWN]:
            before, then = (
                f"{group} {prefix}" if group else ""
                for group, prefix in ((host.was_group, host.was_prefix), (host.group, host.prefix))
            )
            table.add_row(host.node, host.kind, before, then, host.reason)
        console.section("nodes", table, *_more(len(moved)))
    if found.losing:
        table = console.table("pod", "node", "address", "why")
        for pod in found.losing[:SHOWN]:
            table.add_row(pod.pod, pod.node, " ".join(pod.addresses), pod.reason)
        console.section("running pods that lose their address", table, *_more(len(found.losing)))
    print_summary(found)


def print_summary(found: Changes) -> None:
    for line in (*map(_growth, found.growths), *_summary(found)):
        console.console.print(Text(line))


def _title(network: NetworkChange) -> str:
    def now_and_then(was: Any, now: Any) -> str:
        return str(now) if was == now or not was else str(was) if not now else f"{was} -> {now}"

    return (
        f"network {now_and_then(network.was_network, network.network)}  "
        f"{now_and_then(network.was_prefix, network.prefix)}, blocks of "
        f"/{now_and_then(network.was_block_mask, network.block_mask)}"
        + (f", for {', '.join(network.tenants) or 'everyone'} instead of "
           f"{', '.join(network.was_tenants) or 'everyone'}"
           if network.kind == "changed" and network.tenants != network.was_tenants else "")
        + f": {network.kind}"
    )  # fmt: skip


def _groups(groups: list[GroupChange]) -> Iterator[Table | Text]:
    """All of them, or, where they are many, those that change."""
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


def _growth(level: Growth) -> str:
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


def _summary(found: Changes) -> Iterator[str]:
    hosts = Counter(host.kind for host in found.hosts)
    if hosts:
        words = {"stays": "stay", "moves": "move", "placed": "get a place", "unplaced": "without a place"}
        yield "nodes: " + _counted(hosts, words)
    blocks = Counter(block.kind for block in found.blocks if not block.already)
    blocks["kept"] = found.blocks_kept
    blocks["left"] = sum(block.already for block in found.blocks)
    blocks["opened"] = found.blocks_opened
    yield "blocks: " + _counted(
        blocks,
        {
            "kept": "kept",
            "opened": "opened",
            "ended": "ended (empty)",
            "outside": "outside every group until their addresses go",
            "elsewhere": "in a group that is no longer their node's until their addresses go",
            "left": "left there by an earlier change",
        },
    )
    lost = sum(len(pod.addresses) for pod in found.losing)
    yield f"addresses: {console.count(found.addresses_kept)} kept" + (
        f", {console.count(lost)} lost" if lost else ""
    )
    if found.homeless:
        pods = console.many(len(found.homeless), "running pod")
        names = _names(found.homeless)
        yield f"{pods} with an address that lies in no group now keep it until they go: {names}"


def _counted(counts: Counter[str], words: dict[str, str]) -> str:
    said = [f"{console.count(counts[kind])} {text}" for kind, text in words.items() if counts[kind]]
    return ", ".join(said) or "none"


def _names(pods: Sequence[Any]) -> str:
    named = ", ".join(pod.pod for pod in pods[:5])
    return f"{named} and {console.count(len(pods) - 5)} more" if len(pods) > 5 else named
