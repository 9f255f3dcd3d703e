"""An agent with the rights that the DaemonSet gives it, and no others, attaches pods."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cni.calling import until
from tests.cni.conftest import namespaces, own_nats, own_node
from tests.deploy.manifests import container

if TYPE_CHECKING:
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


def behind(capabilities: list[str]) -> tuple[str, ...]:
    command = " ".join(f"'{word}'" for word in AGENT["command"])
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
