"""`romana-bus agent uninstall`: removes the agent from a node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from romana_bus.agent.uninstall.survey import Places
from romana_bus.agent.uninstall.uninstall import Result, Uninstaller
from romana_bus.cli.common import console
from romana_bus.cli.common.options import RUN_DIR, STATE_DIR, Connection, Output, host_node
from romana_bus.cli.common.session import run
from romana_bus.cli.common.terminal import print_line
from romana_bus.cni.link import sysctls
from romana_bus.cni.plugin import runtimes
from romana_bus.errors import BadInput, Failed


def uninstall(
    *,
    node: Annotated[str, Parameter(env_var="ROMANA_NODE")] = "",
    keep_pods: Annotated[bool, Parameter(negative="")] = False,
    force: Annotated[bool, Parameter(negative="")] = False,
    dry_run: Annotated[bool, Parameter(negative="")] = False,
    run_dir: Path = RUN_DIR,
    state_dir: Path = STATE_DIR,
    bin_dir: Path | None = None,
    conf_dir: Path | None = None,
    connection: Connection = Connection(),
    output: Output = Output(),
) -> None:
    """Remove the agent from this node: the CNI plugin, links, routes, files; and what the log holds for it.

    The agent must not run, and no pod with our network, unless they are to be
    kept or cut off. Only what is marked as ours is removed. Without the log,
    everything on the node is removed all the same, and the command says what is
    to be done later. It may be interrupted, and run again at any time.

    Parameters
    ----------
    node
        Name of this node in Kubernetes; by default the host name in lower case.
    keep_pods
        Leave running pods connected: their links and the routes stay, without an agent, and the plugin,
        which the runtime calls at their end. Run the command again when they are gone.
    force
        Remove also the links of running pods: they lose their network.
    dry_run
        Only print what would be removed.
    run_dir
        The agent's --run-dir.
    state_dir
        The agent's --state-dir.
    bin_dir
        Directory of the runtime's plugins, as for install-cni.
    conf_dir
        Directory of the runtime's network configurations, likewise.
    """
    if keep_pods and force:
        raise BadInput("--keep-pods and --force: pods are kept connected, or cut off; give one")
    if os.geteuid() != 0:
        raise Failed("uninstalling changes links and routes: run it as root")
    if bin_dir is None or conf_dir is None:
        runtime = runtimes.found()
        bin_dir, conf_dir = bin_dir or runtime.bin_dir, conf_dir or runtime.conf_dir
    uninstaller = Uninstaller(
        node or host_node(),
        Places(run_dir, state_dir, bin_dir, conf_dir),
        keep_pods=keep_pods,
        force=force,
        tell=lambda what: None if output.json else print_line(f"removed: {what}"),
    )
    if dry_run:
        _print(uninstaller.node, uninstaller.planned(), output, "would remove: ")
    else:
        run(_uninstall(uninstaller, connection, output), output)


async def _uninstall(uninstaller: Uninstaller, connection: Connection, output: Output) -> None:
    result = await uninstaller.run(connection.access, connection.layout)
    _print(uninstaller.node, result, output)
    if result.log is not None and result.log.why:
        raise Failed(
            f"the log was not told: {result.log.why}. It may hold addresses for sandboxes of "
            f"{uninstaller.node}: run this again when NATS can be reached, or, once the node is deleted from "
            f"the API server, `romana-bus ipam release {uninstaller.node}` anywhere"
        )


def _print(node: str, result: Result, output: Output, before: str = "") -> None:
    """`before`: with what lines about removed things begin; '' if they were printed before."""
    stay = [] if result.kept else list(sysctls.standing())
    if output.json:
        log = result.log
        told = {} if log is None else {"log": {"ended": log.ended, "why": log.why, "known": log.known}}
        lists = {"removed": result.removed, "left": result.left, "kept": result.kept, "sysctls": stay}
        console.as_json({"node": node, "dry_run": bool(before)} | lists | told)
        return
    for what in result.removed if before else ():
        print_line(f"{before}{what}")
    for pod in result.log.ended if result.log else ():
        print_line(f"released on the log: the request of {pod}")
    for link, pod in result.kept.items():
        print_line(f"kept: {link} of {pod or 'an unknown pod'}")
    for what in result.left:
        print_line(f"left: {what}")
    if stay:
        print_line(f"left: sysctls, on which others may rely: {', '.join(stay)}")
    if not result.removed:
        print_line(
            "nothing of romana-bus is on this node" if not result.kept else "nothing more can be removed yet"
        )
    if result.log is not None and not result.log.why and not result.log.known:
        print_line(f"the log has no report of an agent of node {node}: is that its name? See --node")
