"""`romana-bus doctor`: looks at everything that romana-bus needs, and says what is wrong, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from romana_bus.cli.common import console
from romana_bus.cli.common.groups import STORE
from romana_bus.cli.common.options import RUN_DIR, Connection, Kubernetes, Output, host_node
from romana_bus.cli.common.session import run
from romana_bus.cli.doctor.examine import examine
from romana_bus.cli.doctor.finding import CLUSTER, NODE, WRONG
from romana_bus.cli.doctor.gather.context import Wanted, identity, opened
from romana_bus.cli.doctor.view import counts, document, print_rows
from romana_bus.cli.serve.watch import all_kinds
from romana_bus.cli.topology.overlap import Services
from romana_bus.errors import BadInput, Failed


@Parameter(name="*", group=STORE)
@dataclass(frozen=True)
class Log(Connection):
    """Where the log is; --cluster is a scope here."""

    cluster: Annotated[str, Parameter(name="--cluster-name", env_var="ROMANA_CLUSTER")] = "default"
    """Name of the Kubernetes cluster, which is --cluster elsewhere."""


def doctor(
    *,
    node: Annotated[bool, Parameter(negative="")] = False,
    cluster: Annotated[bool, Parameter(name="--cluster", negative="")] = False,
    node_name: Annotated[str, Parameter(env_var="ROMANA_NODE")] = "",
    run_dir: Path = RUN_DIR,
    bin_dir: Path | None = None,
    conf_dir: Path | None = None,
    pause: float = 5.0,
    services: Services = Services(),
    kubernetes: Kubernetes = Kubernetes(),
    log: Log = Log(),
    output: Output = Output(),
) -> None:
    """Check everything that romana-bus needs, and say what was found, what it means, and what to do.

    Looks at this node (kernel, routes, plugin, runtime, agent) and at the cluster
    (log, API server, nodes, networks, addresses), as far as they are reached.
    Changes nothing. Exit code 1 if something is wrong; warnings, and what could
    not be looked at, do not count.

    Parameters
    ----------
    node
        Only this node, also where romana-bus seems not to be installed.
    cluster
        Only the cluster: the log and the API server.
    node_name
        Name of this node in Kubernetes; by default the host name in lower case.
    run_dir
        The agent's --run-dir.
    bin_dir
        Directory of the runtime's plugins; without it, as in the runtime's configuration.
    conf_dir
        Directory of the runtime's network configurations; likewise.
    pause
        Seconds after which differences are looked at again: only those that last count.
    """
    if not 0 <= pause <= 3600:
        raise BadInput(f"--pause {pause:g}: must be between 0 and 3600 seconds")
    scopes = tuple(scope for scope, only in ((NODE, node), (CLUSTER, cluster)) if only) or (NODE, CLUSTER)
    named = bool(cluster or kubernetes.server or kubernetes.kubeconfig or kubernetes.context)
    wanted = Wanted(
        scopes, node_name or host_node(), run_dir, bin_dir, conf_dir, log.access, log.layout,
        kubernetes.target, named, tuple(all_kinds(kubernetes)), services.prefixes, pause,
    )  # fmt: skip
    identity(wanted)
    run(_doctor(wanted, output), output)


async def _doctor(wanted: Wanted, output: Output) -> None:
    async with opened(wanted) as context:
        rows = await examine(context)
    if output.json:
        console.as_json(document(rows, wanted.node, wanted.layout.cluster))
    else:
        print_rows(rows, wanted.node, wanted.layout.cluster)
    if wrong := counts(rows)[WRONG]:
        raise Failed(f"{console.many(wrong, 'check')} found something wrong: see `romana-bus doctor --help`")
