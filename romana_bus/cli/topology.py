"""`romana-bus topology`: the operator's document, in and out."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import yaml
from cyclopts import App
from rich.tree import Tree

from romana_bus import codec
from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.api import WrongSequence
from romana_bus.bus.connect import open_store
from romana_bus.cli import show
from romana_bus.cli.folded import ipam_state
from romana_bus.cli.options import Output, Store
from romana_bus.cli.session import run
from romana_bus.errors import BadInput, Failed
from romana_bus.events import IPAM, KUBE, SPEC, TopologySet
from romana_bus.feed import outgoing
from romana_bus.ipam import view
from romana_bus.ipam.document import BadTopology, Reader
from romana_bus.ipam.topology import Topology
from romana_bus.lead import now

if TYPE_CHECKING:
    from romana_bus.ipam import State
    from romana_bus.ipam.view import GroupView

app = App(name="topology", help="The topology document: networks, groups, and where nodes belong.")

ROLES = [SPEC, KUBE, IPAM]
#: As JSON it has to fit into one message.
LARGEST = 900_000


@app.command(name="set")
def set_(file: Path, /, *, store: Store = Store(), output: Output = Output()) -> None:
    """Set the topology from a file (JSON or YAML, Romana's format; '-' is standard input).

    Refused whole, changing nothing, where the document is wrong, or a pod's address would have no place."""
    document = read(file)
    run(_set(document, file, store, output), output)


async def _set(document: dict[str, Any], file: Path, store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "topology set", ROLES) as opened:
        changed = await apply(opened, document, str(file))
        state = await ipam_state(opened)
    if output.json:
        show.as_json({"changed": changed, "networks": view.networks(state)})
        return
    show.console.print(tree(state))
    show.console.print(f"topology {'set' if changed else 'unchanged: it was this one already'}")


async def apply(store: OpenStore, document: dict[str, Any], name: str) -> bool:
    """Put the document on the log if it is another than the one there, and safe. Gives whether it was.
    Raises BadInput, Failed."""
    topology = checked(document, name)
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


def checked(document: dict[str, Any], name: str) -> Topology:
    """The topology, if the document is good; what is odd about it is said on stderr. Raises BadInput."""
    reader = Reader(document)
    for warning in reader.warnings:
        sys.stderr.write(f"romana-bus: {name}: {warning.place}: {warning.text}\n")
    if reader.problems:
        raise BadInput(*(f"{name}: {reason}" for reason in BadTopology(reader.problems).reasons))
    return Topology(reader.networks)


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
        raise BadInput(
            f"not set: {len(losing)} running pods would be without a place for their address: {shown}"
        )


def read(file: Path) -> dict[str, Any]:
    """Raises BadInput."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{file}: not text") from None
    if len(text) > LARGEST:
        raise BadInput(f"{file}: {len(text):,} characters; a topology has {LARGEST:,} at most")
    try:
        document = yaml.load(text, Loader=_Loader)
        msgspec.json.encode(document)
    except (yaml.YAMLError, TypeError, RecursionError) as error:
        raise BadInput(f"{file}: neither JSON nor YAML: {' '.join(str(error).split())}") from None
    if not isinstance(document, dict):
        raise BadInput(f"{file}: an object with `networks` and `topologies` is expected")
    return document


class _Loader(yaml.SafeLoader):
    """No aliases: a few lines of them unfold to more than any machine holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not taken: write the value out")
        return super().compose_node(parent, index)


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
        show.console.print(f"[red]{state.problem}[/]")
    show.console.print(tree(state))


def tree(state: State) -> Tree:
    """The groups of all networks, each with its prefix, use and nodes."""
    title = "topology" if state.documented else "no topology is set: one group for each zone that nodes show"
    root = Tree(f"[bold]{title}[/]", guide_style="dim")
    for network in view.networks(state):
        head = f"[bold]{network.network}[/] {network.prefix}  {show.use(network.room)}  {network.hosts} nodes"
        branches = {"": root.add(head)}
        for group in network.groups:
            if group.closed:
                continue
            if group.group in ("/", "") or (group.prefix == network.prefix and not group.leaf):
                branches[group.group] = branches[""]
                continue
            parent = branches.get(group.group.rpartition("/")[0], branches[""])
            branches[group.group] = parent.add(_described(group))
    return root


def _described(group: GroupView) -> str:
    needs = "  ".join(f"{key}={value}" for key, value in group.needs.items())
    nodes = f"  {group.hosts} nodes" if group.leaf else ""
    name = group.group.rpartition("/")[2] or group.group
    return f"{name} {group.prefix}  {show.use(group.room)}{nodes}  [dim]{needs}[/]"
