"""`romana-bus lab demo`: what addresses by topology save in routes, shown in a minute."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from rich.console import Group

from romana_bus.cli.common import console
from romana_bus.cli.common.options import Output
from romana_bus.cli.common.session import run
from romana_bus.cli.common.steps import Steps
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.lab import commands, ping, summary, up_down
from romana_bus.errors import BadInput, Failed
from romana_bus.lab.inspect import names
from romana_bus.lab.kubelet import pods
from romana_bus.lab.machine.directory import Lab
from romana_bus.lab.spec import Spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.lab.inspect.demo import Outcome


def demo(
    *,
    name: str = "lab",
    zones: int = 2,
    nodes_per_zone: int = 2,
    output: Output = Output(),
) -> None:
    """Bring a lab up, run pods in every zone, ping across zones, and count the routes that the pods changed.

    A lab that is up already is used as it is. The exit code is 1 if the ping
    fails or a route changed outside the pods' own zone.

    Parameters
    ----------
    name
        The lab's name.
    zones
        Number of subnets, if the lab is not up yet.
    nodes_per_zone
        Number of nodes in each, if the lab is not up yet.
    """
    spec = Spec(name=name, zones=zones, nodes_per_zone=nodes_per_zone).checked()
    commands.check_machine()
    run(_demo(spec, output), output)


async def _demo(spec: Spec, output: Output) -> None:
    existing = _existing(spec.name)
    if existing is None:
        up_down.check_memory(spec)
    made = existing or await up_down.bring_up(spec, output)
    try:
        await _demonstrate(made, output)
    except asyncio.CancelledError:
        if existing is None:
            await up_down.undo(made, Steps(output))
        raise


async def _demonstrate(made: Lab, output: Output) -> None:
    """Raises Failed."""
    from romana_bus.cli.lab.kubelet import client_of
    from romana_bus.lab.cluster import block_log
    from romana_bus.lab.inspect.demo import demonstrate

    async with client_of(made) as client, await block_log.log_of(made) as store:
        outcome = await demonstrate(made, client, store, Steps(output))
    if output.json:
        console.as_json(_document(outcome))
        reached = True
    else:
        console.console.print()
        _show_addresses(made, outcome)
        reached = _show_ping(made, outcome, output)
        await asyncio.sleep(0.01)  # Ctrl-C during the ping ends the demonstration too
        _show_counts(made, outcome)
        summary.show_commands(made, "the lab is still up; more commands to try, and the one that ends it")
    if not (reached and outcome.as_promised):
        raise Failed(
            "routes outside the pods' own zone were changed" if reached else "the ping was not answered"
        )


def _existing(name: str) -> Lab | None:
    """The lab if it is up, or None. Raises BadInput if it is only partly up."""
    try:
        lab = Lab.open(name)
    except BadInput:
        return None
    if not lab.facts.up:
        raise BadInput(f"lab {name} was left half up: remove it with {lab.command('down')}")
    return lab


def _document(outcome: Outcome) -> dict[str, Any]:
    return {
        "pods": {"/".join(pods.key(pod)): _addresses(pod) for pod in outcome.pods},
        "opened": outcome.opened,
        "router": outcome.router._asdict(),
        "nodes": {
            name: tally._asdict() | {"expected": outcome.expected[name]}
            for name, tally in outcome.nodes.items()
        },
        "outside": outcome.outside,
        "as_promised": outcome.as_promised,
    }


def _addresses(pod: dict[str, Any]) -> list[str]:
    return [ip["ip"] for ip in pod["status"].get("podIPs") or ()]


def _show_addresses(made: Lab, outcome: Outcome) -> None:
    """Print the addresses by zone, node, block and pod."""
    table = console.table("zone", "node", "blocks", "pods")
    for zone in made.spec.zone_list:
        table.add_row(Text(zone.name, "bold"), "", ", ".join(made.prefixes().get(zone.name, ())), "")
        for node in zone.nodes:
            pods_here = [pod for pod in outcome.pods if pod["spec"]["nodeName"] == node.name]
            names = [f"{pod['metadata']['name']} {' '.join(_addresses(pod))}" for pod in pods_here]
            table.add_row("", node.name, _below(outcome.blocks.get(node.name, ())), _below(names))
    console.section("addresses by topology", table)


def _below(texts: Iterable[str]) -> Group:
    """One cell, with a line for each."""
    return Group(*map(Text, texts))


def _show_ping(made: Lab, outcome: Outcome, output: Output) -> bool:
    """Ping from a pod of the first zone to one of the last; returns whether all pings were answered."""
    zones = {node.name: node.zone for node in made.spec.nodes}
    spec = made.spec.zone_list
    first = next(pod for pod in outcome.pods if zones[pod["spec"]["nodeName"]] == spec[0].name)
    last = [pod for pod in outcome.pods if zones[pod["spec"]["nodeName"]] == spec[-1].name][-1]
    source = names.find(made, "/".join(pods.key(first)))
    return all(ping.ping_once(made, source, address, 3, output) for address in _addresses(last))


def _show_counts(made: Lab, outcome: Outcome) -> None:
    numbers = ("outside its zone", "in its zone", "blocks opened there", "own pods")
    table = console.table("at", "zone", *numbers, right=numbers)
    table.add_row("router", "", str(outcome.router.outside), "", "", "")
    for node in made.spec.nodes:
        tally = outcome.nodes[node.name]
        counts = (tally.outside, tally.inside + tally.replaced, outcome.expected[node.name], tally.own)
        table.add_row(node.name, node.zone, *map(str, counts))
    console.section("routes that these pods changed, as each kernel reported them", table)
    blocks, inside = len(outcome.opened), sum(tally.inside for tally in outcome.nodes.values())
    lines = (
        f"{len(outcome.pods)} pods changed {console.many(outcome.outside, 'route')} outside their own zone.",
        f"Inside it, {console.many(blocks, 'block')} opened: {console.many(inside, 'route')} on the other "
        "nodes, and none for a single pod.",
    )
    style = "bold green" if outcome.as_promised else "bold red"
    console.console.print(*(Text(line, style) for line in lines), "", sep="\n")
