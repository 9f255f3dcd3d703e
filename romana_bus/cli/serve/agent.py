"""`romana-bus agent`: the agent of one node, and the installation of its CNI plugin."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

from romana_bus.agent.agent import Agent, Settings
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import Serving, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.common.terminal import print_line
from romana_bus.cni import spec
from romana_bus.cni.plugin import install
from romana_bus.errors import BadInput, Failed

RUN_DIR, STATE_DIR = Path("/run/romana-bus"), Path("/var/lib/romana-bus")
#: The most seconds of --timeout: romana-cni waits a little longer by default.
PLUGIN_WAITS = 15.0

app = App(
    name="agent",
    group_parameters=OPTIONS,
)


@app.default
def agent(
    *,
    node: Annotated[str, Parameter(env_var="ROMANA_NODE")] = "",
    run_dir: Path = RUN_DIR,
    state_dir: Path = STATE_DIR,
    mtu: int = 0,
    timeout: float = spec.TIMEOUT,
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
        Name of this node in Kubernetes; by default the host name.
    run_dir
        Directory of the socket and the attachments; must be empty after a reboot, since links are gone too.
    state_dir
        Directory of events that the log does not have yet; must survive a reboot.
    mtu
        Default MTU of pods' links; 0: that of the default route's link.
    timeout
        Default for the seconds that a pod waits for its address.
    """
    if mtu and not 68 <= mtu <= 65535:
        raise BadInput(f"--mtu {mtu}: must be 0, or between 68 and 65535")
    if not 0 < timeout <= PLUGIN_WAITS:
        raise BadInput(
            f"--timeout {timeout:g}: must be above 0, and at most {PLUGIN_WAITS:g} seconds, since romana-cni "
            'waits for 20. For more, set "timeout" in the network configuration'
        )
    if os.geteuid() != 0:
        raise Failed("the agent changes links and routes: run it as root")
    settings = Settings(node or socket.gethostname(), run_dir, state_dir, mtu, timeout)
    run(Agent(settings, store.access, store.layout, output.listen).run(), output)


@app.command(name="install-cni")
def install_cni(
    *,
    bin_dir: Path = Path("/opt/cni/bin"),
    conf_dir: Path = Path("/etc/cni/net.d"),
    run_dir: Path = RUN_DIR,
    name: str = "romana-bus",
    mtu: int = 0,
) -> None:
    """Install romana-cni and its network configuration where the container runtime looks for them.

    The plugins portmap and bandwidth are chained if they are in BIN_DIR.

    Parameters
    ----------
    bin_dir
        Directory of the runtime's plugins.
    conf_dir
        Directory of the runtime's network configurations.
    run_dir
        The agent's --run-dir.
    name
        Name of the network.
    mtu
        MTU of pods' links; 0: the agent's default.
    """
    done = install.install(bin_dir, conf_dir, run_dir / "cni.sock", name, mtu)
    chain = ", ".join((install.PLUGIN, *done.plugins))
    print_line(str(done.executable))
    print_line(f"{done.conflist}: CNI {done.version}, {chain}")
    if done.first:
        before = ", ".join(done.first)
        print_line(f"the runtime uses the first file by name, which is not this one: remove {before}")
