"""An agent with the rights that the DaemonSet gives it, and no others, attaches pods; what removes it too."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from romana_bus.cni.plugin import install
from tests.cni.calling import until
from tests.cni.conftest import namespaces, own_nats, own_node
from tests.deploy.manifests import container
from tests.identities import log_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.cni.node import Node

__all__ = ["namespaces", "own_nats", "own_node"]

AGENT = container("one-node", "agent").spec
ADDED = [name.lower() for name in AGENT["securityContext"]["capabilities"]["add"]]
#: As a container runtime starts it: mounts arrive from the host, /proc/sys is read-only, other capabilities
#: are gone. Then the command of the manifest, instead of the first two words, which are `romana-bus agent`.
CONTAINER = """
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys || exit 1
shift 2
exec setpriv --no-new-privs --bounding-set=$RIGHTS --inh-caps=$RIGHTS {command} "$@"
"""


def behind(capabilities: list[str], words: list[str] = AGENT["command"]) -> tuple[str, ...]:
    command = shlex.join(words)
    rights = ",".join(["-all", *(f"+{name}" for name in capabilities)])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return (
        "env", f"RIGHTS={rights}", f"PATH={path}", "unshare", "--mount", "--propagation=slave",
        "sh", "-c", CONTAINER.format(command=command), "container",
    )  # fmt: skip


@pytest.fixture
def node(own_node: Node) -> Node:
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv: apt-get install util-linux")
    return own_node


def test_an_agent_with_these_capabilities_attaches_pods(node: Node) -> None:
    assert node.inside("sysctl", "-n", "net.ipv4.ip_forward").stdout == "0\n"
    node.start(behind=behind(ADDED)).until_synced()
    status = Path(f"/proc/{node.pid}/status").read_text()
    effective = re.search(r"^CapEff:\t(\w+)$", status, re.MULTILINE)
    assert effective
    assert int(effective[1], 16) == 1 << 12 | 1 << 21  # CAP_NET_ADMIN, CAP_SYS_ADMIN (capability.h)
    assert node.inside("sysctl", "-n", "net.ipv4.ip_forward").stdout == "1\n"
    pod = node.pod()  # its namespace is mounted after the agent's start
    node.decided(pod, *node.fresh())
    node.until_read()
    given = {each["address"].partition("/")[0] for each in node.added(pod)["ips"]}
    assert given <= node.routes().keys()
    done = subprocess.run(["ip", "netns", "exec", pod.netns, "ping", "-c1", "-W2", node.address], check=False)
    assert done.returncode == 0


def test_what_removes_the_agent_waits_for_pods_and_leaves_nothing(node: Node) -> None:
    directories = {name: node.directory / name for name in ("bin", "conf", "run", "state", "tmp")}
    for name in ("bin", "conf", "tmp"):
        directories[name].mkdir()
    install.install(directories["bin"], directories["conf"], node.run_dir / "cni.sock", "pods", 0)
    node.start().until_synced()
    pod = node.pod()
    node.decided(pod, *node.fresh())
    node.until_read()
    node.added(pod)
    with removing(node, directories) as log:
        until(lambda: "the agent runs (--run-dir" in log(), "it waits for the agent", log)
        node.stop()
        until(lambda: not any(directories["conf"].iterdir()), "no new pods get our network", log)
        assert node.routes()
        subprocess.run(["ip", "netns", "del", pod.netns], check=True)
        until((directories["tmp"] / "uninstalled").exists, "nothing is left", log)
        assert not node.routes()
        assert not any(directories["bin"].iterdir())
        assert not any(directories[name].exists() for name in ("run", "state"))


@contextlib.contextmanager
def removing(node: Node, directories: dict[str, Path]) -> Iterator[Callable[[], str]]:
    """The container that removes the agent, which looks again at once; gives what it prints."""
    uninstall = container("one-node", "uninstall").spec
    rights = [name.lower() for name in uninstall["securityContext"]["capabilities"]["add"]]
    command = [word.replace("sleep 10", "sleep 1") for word in uninstall["command"]]
    options = [f"--{name}-dir={directories[name]}" for name in ("bin", "conf", "run", "state")]
    log_of_node = log_options(f"nats://{node.log_address}:{node.nats.port}", node.cluster)
    line = [
        "ip", "netns", "exec", node.netns, "env", f"TMPDIR={directories['tmp']}", *behind(rights, command),
        "romana-bus", "agent", *uninstall["args"][:2], *options, *log_of_node, "--node", node.name,
    ]  # fmt: skip
    with (node.directory / "uninstall.log").open("wb") as out:
        running = subprocess.Popen(line, stdout=out, stderr=out)
    try:
        yield (node.directory / "uninstall.log").read_text
    finally:
        running.terminate()
        assert running.wait(20) == 0


def test_without_sys_admin_it_does_not_start(node: Node) -> None:
    done = node.inside(*behind(["net_admin"]), *node.command())
    assert done.returncode != 0
    assert "not permitted" in done.stderr or "permission denied" in done.stderr


def test_without_net_admin_it_says_why_its_node_is_not_ready(node: Node) -> None:
    node.start(behind=behind(["sys_admin"]))
    until(
        lambda: "net.ipv4.ip_forward is 0: packets of pods are not forwarded" in node.fetches("readyz"),
        "it says why",
        node.log,
    )
    assert node.status().code != 0
