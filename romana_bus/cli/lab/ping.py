"""`romana-bus lab ping`, `matrix` and `exec`: pings, paths and commands, from a pod or a node."""

from __future__ import annotations

import os
import sys
from typing import Annotated

from cyclopts import Parameter

from romana_bus.cli.common import console
from romana_bus.cli.common.options import Output
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.lab.commands import Which
from romana_bus.errors import BadInput, Failed
from romana_bus.lab.inspect import names, reachability, trace
from romana_bus.lab.inspect.names import End
from romana_bus.lab.machine import netns
from romana_bus.lab.machine.directory import MARK, Lab


def ping(
    source: str,
    target: str,
    *,
    count: int = 3,
    which: Which = Which(),
    output: Output = Output(),
) -> None:
    """Ping from one pod or node to another, and show the path of the packets.

    Parameters
    ----------
    source
        Name or address of a pod or node.
    target
        Name or address of a pod or node, or any other address.
    count
        Packets for each address.
    """
    lab = which.opened()
    if not 1 <= count <= 100:
        raise BadInput(f"--count {count}: must be between 1 and 100")
    start, end = names.find(lab, source), names.find(lab, target, addresses=True)
    chosen = [address for address in end.addresses if address == target] or list(end.addresses)
    if start.kind == names.ROUTER or end.kind == names.ROUTER:
        chosen = chosen[:1]
    failed = [address for address in chosen if not ping_once(lab, start, address, count, output)]
    if failed:
        raise Failed(f"{source} does not reach {target} at {', '.join(failed)}")


def ping_once(lab: Lab, source: End, address: str, count: int, output: Output) -> bool:
    """Ping one address, and print the result with the path; returns whether there was an answer."""
    result = reachability.ping(source.netns, address, count)
    hops, reached = trace.trace(lab, source, address)
    if output.json:
        path = [hop._asdict() for hop in hops]
        console.as_json({"address": address, **result._asdict(), "path": path, "reached": reached})
        return bool(result.received)
    table = console.table("at", "route", "next hop", "link")
    for hop in hops:
        table.add_row(hop.at, hop.route, hop.via or "on-link", hop.link)
    table.add_row(reached or Text("not reached", "red"), "", "", "")
    console.section(f"{source.short} to {address}: {result}", table)
    return bool(result.received)


def matrix(*, which: Which = Which(), output: Output = Output()) -> None:
    """Ping from every pod to every pod, and show which pods reach which. Exit code 1 if a ping fails."""
    lab = which.opened()
    known = names.pods(lab)
    pods = [pod for pod in known if pod.is_there]
    if not pods:
        raise BadInput(f"there are no pods: run some with {lab.command('pod run NAME')}")
    pairs = reachability.matrix(pods)
    failed = [pair for pair in pairs if not pair.ping.received]
    if output.json:
        console.as_json([_pair(pair) for pair in pairs])
    else:
        _show_matrix(pods, pairs)
        if off := [pod.short for pod in known if not pod.is_there]:
            console.hint(f"Left out, since their nodes are off: {', '.join(off)}")
        for pair in failed[:10]:
            console.hint(f"{pair.source.short} does not reach {pair.target.short}: {pair.ping}")
    if failed:
        raise Failed(f"{len(failed)} of {len(pairs)} pairs do not reach each other")


def _pair(pair: reachability.Pair) -> dict[str, object]:
    reached, time = bool(pair.ping.received), pair.ping.time
    return {"from": pair.source.name, "to": pair.target.name, "reached": reached, "time": time}


def _show_matrix(pods: list[End], pairs: list[reachability.Pair]) -> None:
    """Print a row for each pod that pings, with a mark for each pod that answers."""
    reached = {(pair.source.name, pair.target.name): bool(pair.ping.received) for pair in pairs}
    yes, no = ("✓", "✗") if console.console.encoding.startswith("utf") else ("y", "-")
    table = console.table("", "zone", "address", f"reaches 1 to {len(pods)}")
    for number, source in enumerate(pods, 1):
        marks = Text(overflow="fold")
        for target in pods:
            marks.append(*((yes, "green") if reached[source.name, target.name] else (no, "red")))
        table.add_row(f"{number} {source.short}", source.zone, ", ".join(source.addresses), marks)
    answered = sum(reached.values())
    console.section(f"{answered} of {len(pairs)} pairs reach each other", table)


def exec_(
    where: str,
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    which: Which = Which(),
) -> None:
    """Run a command in the network of a pod, a node, or the router: lab exec web -- ip route

    Parameters
    ----------
    where
        Name or address of a pod or node, or `router`.
    command
        The command and its arguments, behind `--`.
    """
    lab = which.opened()
    if not command:
        raise BadInput(f"no command given; for example: romana-bus lab exec {where} -- ip route")
    end = names.find(lab, where)
    sys.stdout.flush()
    netns.enter(end.netns)
    environment = os.environ | {MARK: lab.spec.name, "PATH": netns.search_path()}
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise BadInput(f"{command[0]} cannot be run: {error.strerror}") from None
