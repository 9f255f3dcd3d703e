"""Prints the topology as a tree of its groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.tree import Tree

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.ipam.capacity import closed
from romana_bus.ipam.report import views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam import State
    from romana_bus.ipam.report.views import GroupView
    from romana_bus.ipam.topology.tree import Group


def tree(state: State) -> Tree:
    """The groups of all networks, each with its prefix, usage, nodes and free slots."""
    root = Tree(Text("topology" if state.documented else "default topology", "bold"), guide_style="dim")
    for network, view in zip(state.topology.networks, views.networks(state), strict=True):
        head = f"{view.prefix}  {console.usage_bar(view.usage)}  {console.many(view.hosts, 'node')}"
        whole = network.tree if network.tree and network.tree.whole else None
        branch = root.add(Text.assemble((view.network, "bold"), "  ", head, (_free(whole), "dim")))
        branches = [branch]
        walked = _walk(network.tree) if network.tree else ()
        for (depth, group), group_view in zip(walked, view.groups, strict=True):
            if not group.closed:
                drawn = depth or not (group.whole or group.path == "/")
                del branches[depth + 1 :]
                branches.append(
                    branches[depth].add(_described(group, group_view)) if drawn else branches[depth]
                )
        for line in (*closed(view), console.dim(f"fixed and sticky addresses: {network.limits}")):
            branch.add(line)
    return root


def _walk(group: Group, depth: int = 0) -> Iterator[tuple[int, Group]]:
    """Yields the groups with their depth, in the order of a network's view."""
    yield depth, group
    for inner in group.groups:
        yield from _walk(inner, depth + 1)


def _free(group: Group | None) -> str:
    if group is None or not group.groups:
        return ""
    free = sum(inner.closed for inner in group.groups)
    return f"  {console.count(free)} of {console.many(len(group.groups), 'slot')} free"


def _described(group: Group, view: GroupView) -> Text:
    needs = "  ".join(f"{key}={value}" for key, value in view.needs.items())
    nodes = f"  {console.many(view.hosts, 'node')}" if view.leaf else ""
    name = group.name or group.path.rpartition("/")[2] or group.path
    details = f"  {view.prefix}  {console.usage_bar(view.usage)}{nodes}"
    return Text.assemble((name, "cyan"), details, (_free(group), "dim"), "  ", (needs, "dim"))
