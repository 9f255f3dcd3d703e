"""`romana-bus connectivity test`: its options, and its exit code."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from romana_bus import tasks
from romana_bus.cli.common import console
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import ApiServer, Output, check_seconds
from romana_bus.cli.common.session import run
from romana_bus.cli.common.steps import Steps
from romana_bus.cli.common.terminal import print_error
from romana_bus.cli.connectivity.view import show
from romana_bus.connectivity.model import KINDS
from romana_bus.connectivity.report import Report
from romana_bus.connectivity.run import Options, run_test
from romana_bus.errors import BadInput, Failed
from romana_bus.events import Settings

app = App(name="connectivity", group_parameters=OPTIONS)

#: The test's own names of kinds, for texts.
_KINDS = ", ".join(KINDS)


@app.command(name="test")
def connectivity_test(
    *,
    image: str = "busybox:1.37",
    nodes_per_zone: int = 2,
    node: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    skip: Annotated[tuple[str, ...], Parameter(negative="", env_var="ROMANA_CONNECTIVITY_SKIP")] = (),
    host_port: int = 24240,
    zone_label: str = Settings().zone_label,
    wait: float = 120.0,
    api_server: ApiServer = ApiServer(),
    output: Output = Output(),
) -> None:
    """Test whether pods reach pods, nodes, the API server and host ports, in a cluster that runs.

    Puts probe pods into a namespace of their own on nodes of every zone, lets
    them connect to each other, to the nodes and to the API server by TCP, over
    IPv4 and IPv6, and shows what failed and where the packets stop. Everything
    is removed again, also after Ctrl-C.

    Exit codes: 0 everything passed, 1 something failed, 2 the test could not
    run, 130 interrupted.

    Parameters
    ----------
    image
        Image of the probes: any with a shell, and BusyBox's nc or Perl.
    nodes_per_zone
        Nodes of each zone that get probes.
    node
        Only this node; repeatable.
    skip
        Leave out checks of this kind: pod, node, host, nodes, api, hostport or dns. Repeatable.
    host_port
        Port of the nodes for the test of hostPort; it has to be free.
    zone_label
        Label of nodes that has their zone.
    wait
        Seconds until a probe has to run: images are pulled meanwhile.
    """
    if nodes_per_zone < 1:
        raise BadInput(f"--nodes-per-zone {nodes_per_zone}: must be at least 1")
    if not 1 <= host_port <= 65535:
        raise BadInput(f"--host-port {host_port}: must be between 1 and 65535")
    if unknown := sorted(set(skip) - KINDS.keys()):
        raise BadInput(f"--skip {unknown[0]}: must be one of {_KINDS}")
    if KINDS.keys() <= set(skip):
        raise BadInput("--skip: nothing is left to test")
    if not image:
        raise BadInput("--image '': name an image with a shell, such as busybox:1.37")
    check_seconds("--wait", wait)
    options = Options(image, zone_label, nodes_per_zone, node, frozenset(skip), host_port, wait)
    reports: list[Report] = []
    run(_test(api_server, options, output, reports), output)
    if not reports:
        raise KeyboardInterrupt
    (report,) = reports
    show(report, output)
    if not report.passed:
        raise Failed(_failed(report))


async def _test(api_server: ApiServer, options: Options, output: Output, reports: list[Report]) -> None:
    # Imported here: they would slow down all commands.
    from romana_bus.connectivity.cluster import Cluster
    from romana_bus.kubernetes.api import Api
    from romana_bus.kubernetes.client import KubeClient

    async with Api(api_server.target) as api:
        cluster = Cluster(KubeClient(api), f"romana-connectivity-{tasks.nonce()}")
        reports.append(await run_test(cluster, options, Steps(output), print_error))


def _failed(report: Report) -> str:
    made = sum(row.passed + row.failed for row in report.rows)
    parts = [f"{len(report.failures)} of {console.many(made, 'check')} failed"] if report.failures else []
    if report.problems:
        parts.append(f"{console.many(len(report.problems), 'problem')} kept checks from being made")
    return ", ".join(parts) or "no check was made"
