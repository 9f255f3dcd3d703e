"""`romana-bus topology`: the operator's document, in and out."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter
from rich.text import Text
from rich.tree import Tree

from romana_bus import codec
from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.api import WrongSequence
from romana_bus.bus.connect import open_store
from romana_bus.cli import show
from romana_bus.cli.document import checked, read
from romana_bus.cli.folded import ipam_state
from romana_bus.cli.ipam import closed
from romana_bus.cli.options import OPTIONS, Output, Store
from romana_bus.cli.session import run
from romana_bus.errors import BadInput, Failed
from romana_bus.events import IPAM, KUBE, SPEC, TopologySet
from romana_bus.feed import outgoing
from romana_bus.ipam import view
from romana_bus.ipam.topology import Topology
from romana_bus.lead import now

if TYPE_CHECKING:
    from romana_bus.ipam import State
    from romana_bus.ipam.view import GroupView

app = App(
    name="topology",
    help="The topology: networks, the groups that split them, and which nodes belong where.",
    sort_key=4,
    group_parameters=OPTIONS,
)

ROLES = [SPEC, KUBE, IPAM]


@app.command(name="set")
def set_(
    file: Annotated[Path, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Set the topology: networks, and the tree of groups (zones, racks ...) that splits them.

    Refused whole, changing nothing, where the document is wrong, or a pod's address would have no place.

    Parameters
    ----------
    file
        JSON or YAML in Romana's format; '-' is standard input.
    """
    if str(file).startswith("--"):
        raise BadInput(f"unknown option: {file}. See romana-bus topology set --help")
    document = read(file)
    run(_set(document, checked(document, str(file)), store, output), output)


async def _set(document: dict[str, Any], topology: Topology, store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "topology set", ROLES) as opened:
        changed = await apply(opened, document, topology)
        state = await ipam_state(opened)
    if output.json:
        show.as_json({"changed": changed, "networks": view.networks(state)})
        return
    show.console.print(Text("topology set" if changed else "unchanged: it was this one already", "bold"))
    show.console.print(tree(state))


async def apply(store: OpenStore, document: dict[str, Any], topology: Topology) -> bool:
    """Put the document on the log if it is another than the one there, and safe. Gives whether it was.
    Raises BadInput, Failed."""
    newest = await store.newest(SPEC, "spec.topology")
    if newest is not None:
        there = codec.decode(newest.body)
        if isinstance(there, TopologySet) and there.document == document:
            return False
    refuse_if_pods_would_lose(await ipam_state(store), topology)
    message = outgoing(TopologySet(document=document), "", now(), store.history)
    try:
        await store.publish(SPEC, message, newest.seq if newest else 0)
    except WrongSequence:
        raise Failed("somebody else set the topology at the same moment: look at it and try again") from None
    return True


def refuse_if_pods_would_lose(state: State, topology: Topology) -> None:
    """A pod's address needs a group to lie in, and there its node has to be welcome. Raises BadInput."""
    losing = []
    for name, host in sorted(state.hosts.items()):
        for key, record in sorted(host.records.items()):
            for held in record.held:
                leaf = topology.leaf_of(held.block.prefix)
                network = topology.network_of(held.block.prefix)
                if leaf is None or network is None or not topology.admits(network, leaf, name, host.labels):
                    losing.append(f"{key} ({held.block.address(held.offset)} on {name})")
    if losing:
        shown = ", ".join(losing[:5]) + (f" and {len(losing) - 5} more" if len(losing) > 5 else "")
        pods = show.many(len(losing), "running pod")
        raise BadInput(f"not set: the address of {pods} would have no place in it: {shown}")


@app.command(name="show")
def show_(*, store: Store = Store(), output: Output = Output()) -> None:
    """Show the tree of groups, with their prefixes and how full they are."""
    run(_show(store, output), output)


async def _show(store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "topology show", ROLES) as opened:
        state = await ipam_state(opened)
        newest = await opened.newest(SPEC, "spec.topology")
    if output.json:
        document = None
        with contextlib.suppress(AttributeError):
            document = codec.decode(newest.body).document if newest else None  # type: ignore[union-attr]
        show.as_json({"document": document, "networks": view.networks(state), "problem": state.problem})
        return
    if state.problem:
        show.hint(state.problem)
    if not state.documented:
        show.hint(
            f"No topology is set: each zone that nodes show ({state.settings.zone_label}) gets a group. "
            "`romana-bus topology set FILE` sets one."
        )
    show.console.print(tree(state))


def tree(state: State) -> Tree:
    """The groups of all networks, each with its prefix, use and nodes."""
    root = Tree(Text("topology" if state.documented else "default topology", "bold"), guide_style="dim")
    for network in view.networks(state):
        head = f"{network.prefix}  {show.use(network.room)}  {show.many(network.hosts, 'node')}"
        branches = {"": root.add(Text.assemble((network.network, "bold"), "  ", head))}
        for group in network.groups:
            if group.closed:
                continue
            if group.group in ("/", "") or (group.prefix == network.prefix and not group.leaf):
                branches[group.group] = branches[""]
                continue
            parent = branches.get(group.group.rpartition("/")[0], branches[""])
            branches[group.group] = parent.add(_described(group))
        for line in closed(network):
            branches[""].add(line)
    return root


def _described(group: GroupView) -> Text:
    needs = "  ".join(f"{key}={value}" for key, value in group.needs.items())
    nodes = f"  {show.many(group.hosts, 'node')}" if group.leaf else ""
    name = group.group.rpartition("/")[2] or group.group
    return Text.assemble((name, "cyan"), f"  {group.prefix}  {show.use(group.room)}{nodes}  ", (needs, "dim"))
