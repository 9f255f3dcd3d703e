"""An agent as a process: its options, its socket, its readiness, its memory, and how it stops."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from romana_bus.events import Applied, ApplyFailed, SandboxRemoved, SandboxRequested
from tests.cni.calling import CLIENTS, until

if TYPE_CHECKING:
    from tests.cni.node import Node


def test_routes_refused_by_the_kernel_are_reported_with_their_blocks(own_node: Node) -> None:
    """An agent that may not change routes, as one in a container without NET_ADMIN."""
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv: apt-get install util-linux")
    node = own_node
    node.placed(node.outside, "neighbour", ("10.77.16.0/28",))
    seq = node.tail().last

    def newest() -> Applied | ApplyFailed | None:
        found: Applied | ApplyFailed | None = node.newest(f"node.{node.name}.routes")
        return found

    assert node.inside("sysctl", "-w", "net.ipv4.ip_forward=0").returncode == 0
    node.start(behind=("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin"))
    cannot = "it cannot be set to 1: Operation not permitted"
    until(lambda: cannot in node.status().out, "STATUS says why no pod can be attached", node.log)
    failed = until(newest, "a report", node.log)
    assert isinstance(failed, ApplyFailed)
    assert "not permitted" in failed.error
    assert failed.covers == {"IPAM": seq}
    node.stop()
    node.start().until_synced()
    until(lambda: isinstance(newest(), Applied), "it could be done", node.log)
    applied = newest()
    assert isinstance(applied, Applied)
    assert applied.covers == {"IPAM": seq}
    assert applied.standing["routes"] == 1


def test_readiness_shows_why_the_log_is_unreachable(own_node: Node) -> None:
    node = own_node
    node.nats.kill()
    node.start()

    until(lambda: "cannot reach NATS" in node.fetches("readyz"), "it says why")
    assert node.fetches("readyz").startswith("503")
    assert node.fetches("healthz") == "ok\n"
    node.nats.start()
    until(lambda: node.fetches("readyz").startswith("ok\n"), "it is well")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--mtu", "7"), "--mtu 7"),
        (("--timeout", "0"), "--timeout 0"),
        (("--timeout", "60"), "network configuration"),
        (("--api-server", ":6443"), "--api-server :6443: write HOST:PORT"),
        (("--status-grace", "-1"), "--status-grace -1"),
        (("--status-grace", "nan"), "--status-grace nan"),
        (("--run-dir", "/dev/null/x"), "--run-dir"),
        (("--state-dir", "/dev/null/x"), "--state-dir"),
    ],
)
def test_invalid_options_are_refused(own_node: Node, options: tuple[str, ...], said: str) -> None:
    done = own_node.inside(*own_node.command(*options))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("romana-bus: ")
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_caller_that_hangs_up_leaves_nothing_behind(own_node: Node) -> None:
    node = own_node
    node.hasty = True
    node.start().until_synced()
    pod = node.pod()
    environment = {
        "CNI_COMMAND": "ADD", "CNI_CONTAINERID": pod.container, "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0",
        "CNI_ARGS": pod.arguments, "CNI_PATH": "/x",
    }  # fmt: skip
    caller = subprocess.Popen([CLIENTS["c"]], stdin=subprocess.PIPE, env=environment)
    assert caller.stdin is not None
    caller.stdin.write(json.dumps(node.config()).encode())
    caller.stdin.close()
    until(lambda: isinstance(node.newest_of(pod), SandboxRequested), "it is asked for")
    caller.kill()
    caller.wait()
    until(lambda: isinstance(node.newest_of(pod), SandboxRemoved), "it is asked for no more", node.log)
    assert not node.attached()
    node.delete(pod)


def test_stopping_agent_answers_waiting_callers_and_leaves_nothing_half_done(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pod = node.pod()
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(node.add, pod)
        until(lambda: isinstance(node.newest_of(pod), SandboxRequested), "it is asked for")
        assert node.stop() == 0
        adding.result().fails(11, "the agent stops")
    assert not node.attached()
    assert not (node.run_dir / "cni.sock").exists()


def test_socket_is_accessible_to_root_only(own_node: Node) -> None:
    node = own_node
    node.start()
    assert (node.run_dir / "cni.sock").stat().st_mode & 0o777 == 0o600
    assert node.run_dir.stat().st_mode & 0o777 == 0o700


def test_memory_use_is_small(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    status = Path(f"/proc/{node.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    assert resident < 100, f"{resident:.0f} MiB"
