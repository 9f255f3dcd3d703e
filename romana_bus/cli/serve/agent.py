"""`romana-bus agent`: the agent of one node, and the installation of its CNI plugin."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

from romana_bus.agent.agent import Agent, Settings
from romana_bus.agent.reach import host_of
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import RUN_DIR, STATE_DIR, Serving, Store, check_seconds, host_node
from romana_bus.cli.common.session import run
from romana_bus.cli.common.terminal import print_line
from romana_bus.cli.serve.uninstall import uninstall
from romana_bus.cni import spec
from romana_bus.cni.plugin import install, runtimes
from romana_bus.errors import BadInput, Failed

#: The most seconds of --timeout: romana-cni waits a little longer by default.
PLUGIN_WAITS = 15.0

app = App(
    name="agent",
    group_parameters=OPTIONS,
)
app.command(uninstall)


@app.default
def agent(
    *,
    node: Annotated[str, Parameter(env_var="ROMANA_NODE")] = "",
    run_dir: Path = RUN_DIR,
    state_dir: Path = STATE_DIR,
    mtu: int = 0,
    timeout: float = spec.TIMEOUT,
    status_grace: float = 60.0,
    sysctl: Literal["set", "tell"] = "set",
    api_server: str = "",
    store: Store = Store(),
    output: Serving = Serving(),
) -> None:
    """Run this node's agent until stopped: it attaches pods, and adds routes to the pods of other nodes.

    It serves romana-cni from the start, also while the log cannot be reached. It
    changes nothing when it stops, and adopts existing links and routes when it
    starts again.

    Parameters
    ----------
    node
        Name of this node in Kubernetes; by default the host name in lower case.
    run_dir
        Directory of the socket and the attachments; must be empty after a reboot, since links are gone too.
    state_dir
        Directory of events that the log does not have yet; must survive a reboot.
    mtu
        Default MTU of pods' links; 0: that of the default route's link.
    timeout
        Default for the seconds that a pod waits for its address.
    status_grace
        Seconds for which romana-cni repeats the agent's last answer to STATUS when it
        cannot reach the agent, so that the node stays Ready; 0: not at all.
    sysctl
        If the node does not forward packets of pods, or lets them send with the
        addresses of others (ip_forward, forwarding, rp_filter): set the sysctl,
        or only tell, in STATUS, /readyz and the log.
    api_server
        HOST:PORT of the API server, which the agent does not call, but never cuts off; by default
        KUBERNETES_SERVICE_HOST.
    """
    if mtu and not 68 <= mtu <= 65535:
        raise BadInput(f"--mtu {mtu}: must be 0, or between 68 and 65535")
    if not 0 < timeout <= PLUGIN_WAITS:
        raise BadInput(
            f"--timeout {timeout:g}: must be above 0, and at most {PLUGIN_WAITS:g} seconds, since romana-cni "
            'waits for 20. For more, set "timeout" in the network configuration'
        )
    check_seconds("--status-grace", status_grace)
    if api_server and not host_of(api_server):
        raise BadInput(f"--api-server {api_server}: write HOST:PORT, such as 10.0.0.10:6443")
    api_host = host_of(api_server) or os.environ.get("KUBERNETES_SERVICE_HOST", "")
    if os.geteuid() != 0:
        raise Failed("the agent changes links and routes: run it as root")
    settings = Settings(
        node or host_node(), run_dir, state_dir, mtu, timeout, status_grace, sysctl == "set", api_host
    )
    run(Agent(settings, store.access, store.layout, output.listen).run(), output)


@app.command(name="install-cni")
def install_cni(
    *,
    bin_dir: Path | None = None,
    conf_dir: Path | None = None,
    run_dir: Path = RUN_DIR,
    name: str = "romana-bus",
    mtu: int = 0,
) -> None:
    """Install romana-cni and its network configuration where the container runtime looks for them.

    The plugins portmap and bandwidth are chained if they are in BIN_DIR. Missing directories are made.

    Parameters
    ----------
    bin_dir
        Directory of the runtime's plugins; without it, the one in containerd's or CRI-O's configuration, else
        /opt/cni/bin (/usr/lib/cni where only that exists).
    conf_dir
        Directory of the runtime's network configurations; likewise, else /etc/cni/net.d.
    run_dir
        The agent's --run-dir.
    name
        Name of the network.
    mtu
        MTU of pods' links; 0: the agent's default.
    """
    if bin_dir is None or conf_dir is None:
        runtime = runtimes.found()
        bin_dir, conf_dir = bin_dir or runtime.bin_dir, conf_dir or runtime.conf_dir
        if runtime.file:
            print_line(f"{runtime.name} reads {runtime.conf_dir} and {runtime.bin_dir}: {runtime.file}")
    done = install.install(bin_dir, conf_dir, run_dir / "cni.sock", name, mtu)
    chain = ", ".join((install.PLUGIN, *done.plugins))
    print_line(str(done.executable))
    print_line(f"{done.conflist}: CNI {done.version}, {chain}")
    if done.version != spec.NEWEST:
        print_line(
            f"CNI {spec.NEWEST} has STATUS and GC, which the runtime cannot call: {done.oldest} only knows "
            f"{done.version}. So a node counts as ready before its agent is; leaks are found by the agent. "
            f"The plugins of containernetworking/plugins 1.6 know {spec.NEWEST}: install them in {bin_dir}, "
            "and run this again"
        )
    if done.first:
        before = ", ".join(done.first)
        print_line(f"the runtime uses the first file by name, which is not this one: remove {before}")
    elif done.after:
        print_line(
            f"the runtime uses the first file by name, which is this one, and not {', '.join(done.after)}"
        )
