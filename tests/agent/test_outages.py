"""An agent that is killed, and a log that is out of reach."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from romana_bus.events import Applied, ApplyFailed, SandboxRemoved, SandboxRequested, Wired
from tests.cni.calling import CLIENTS, pings, until
from tests.cni.kubelet import STATIC, addresses_in, start_requested

if TYPE_CHECKING:
    from tests.cni.node import Node


def test_without_the_log_pods_stop_at_once_and_it_is_told_later(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    pods = [node.pod(f"static{number}", f"{number:032x}") for number in range(3)]
    for pod in pods:
        node.decided(pod, *node.fresh())
        node.added(pod)
    ordinary = [node.pod() for _ in range(2)]
    for pod in ordinary:
        node.decided(pod, *node.fresh())
        node.added(pod)
    node.until_told().until_knowing().nats.kill()
    for pod in (*pods[:2], ordinary[0]):
        node.delete(pod)
    assert len(node.journal()) == 2  # of an ordinary pod, there is nothing to tell
    node.restart(hasty=True)  # without the log
    for pod in (pods[2], ordinary[1]):
        node.delete(pod)
    node.call("STATUS").fails(50, "not in sync")
    assert len(node.journal()) == 4  # it cannot know what the log has
    node.nats.start()
    node.until_told().until_synced()
    for pod in pods:
        gone = node.newest_of(pod)
        assert isinstance(gone, SandboxRemoved)
        assert gone.sandbox == pod.container
    assert [node.history_of(pod) for pod in ordinary] == [[], []]
    report = until(lambda: node.newest(f"node.{node.name}.cni"), "what is wired is reported")
    assert isinstance(report, Wired)


def test_without_the_log_packets_flow_and_pods_that_were_decided_start(own_node: Node) -> None:
    node = own_node
    node.placed(node.outside, "neighbour", ("10.77.16.0/28",))
    node.start().until_synced()
    until(lambda: node.blocks() == {"10.77.16.0/28"}, "the neighbour's block is routed", node.log)
    runs, decided, unknown = node.pod(), node.pod(), node.pod()
    old, _ = node.decided(runs, *node.fresh())
    node.added(runs)
    four, _ = node.decided(decided, *node.fresh())
    node.until_read()
    boots = node.boots("cni"), node.boots("routes")
    node.nats.kill()
    until(lambda: "romana_boots" in node.metrics(), "it lives")
    result = node.added(decided)
    assert pings(node.netns, four)
    assert pings(decided.netns, old)
    assert node.check(decided, result).code == 0
    assert node.blocks() == {"10.77.16.0/28"}
    assert node.status().code == 0  # the node stays Ready: what is wired forwards on
    node.add(unknown, timeout=0.5).fails(11, f"default/{unknown.name}", "the log is out of reach")
    node.nats.start()
    node.until_told()
    assert node.history_of(unknown) == []  # of what was asked for and is not any more
    node.decided(unknown, *node.fresh())
    node.placed(node.outside, "neighbour", ("10.77.17.0/28",))
    until(lambda: node.blocks() == {"10.77.16.0/28", "10.77.17.0/28"}, "it goes on", node.log)
    node.added(unknown)
    assert (node.boots("cni"), node.boots("routes")) == boots  # from where it was


def test_a_log_that_was_lost_takes_nothing_from_pods_and_routes(own_node: Node) -> None:
    node = own_node
    neighbour = ("10.77.16.0/28", "10.77.17.0/28")
    node.placed(node.outside, "neighbour", neighbour)
    node.start().until_synced()
    until(lambda: node.blocks() == set(neighbour), "the neighbour's blocks are routed", node.log)
    pods = [node.pod() for _ in range(2)]
    addresses = [node.decided(pod, *node.fresh()) for pod in pods]
    results = [node.added(pod) for pod in pods]
    node.nats.lose_store()
    node.nats.start()
    for consumer in ("cni", "routes"):
        until(lambda: node.boots(consumer, "rewound"), "it begins anew", node.log)  # noqa: B023
    node.tell()  # those who watch and decide make the log anew; agents don't
    until(lambda: not node.fetches("readyz").startswith("503"), "it follows the new log", node.log)
    assert node.call("STATUS").code == 0  # all nodes would be NotReady for what forwarding survives
    assert node.blocks() == set(neighbour)
    assert set(node.routes()) == {one for both in addresses for one in both}
    assert [node.check(pod, result).code for pod, result in zip(pods, results, strict=True)] == [0, 0]
    assert pings(pods[0].netns, addresses[1][0])
    node.delete(pods[1])
    node.placed(node.address)
    node.placed(node.outside, "neighbour", neighbour[:1])
    until(lambda: node.blocks() == set(neighbour[:1]), "what the new log does not know goes", node.log)
    node.until_synced()
    assert pings(node.netns, addresses[0][0])


@pytest.mark.parametrize("lives", [True, False])
def test_a_log_that_was_lost_is_told_of_the_static_pods_that_run(own_node: Node, lives: bool) -> None:
    """Or it would give their addresses to others. Of two sandboxes of a pod, of the newer one, in whatever
    order their names are."""
    node = own_node
    node.start().until_synced()
    pods = [node.pod("static", STATIC) for _ in range(3)]
    pods = [pods[1], pods[2], pods[0]]
    node.decided(pods[0], *node.fresh())
    node.until_read()
    for pod in pods:
        node.added(pod)
    node.until_told()
    assert [one.sandbox for one in node.history_of(pods[0])] == [pods[0].container]
    if not lives:
        node.kill()
    node.nats.lose_store()
    if not lives:
        node.start()
    node.nats.start()
    node.placed(node.address)
    asked = until(lambda: node.newest_of(pods[2]), "the new log has its wish", node.log)
    assert isinstance(asked, SandboxRequested)
    assert (asked.uid, asked.sandbox) == (STATIC, pods[2].container)


def test_what_the_kernel_refuses_is_on_the_log_with_what_it_covers(own_node: Node) -> None:
    """An agent that may not change routes, as one in a container without NET_ADMIN."""
    if not shutil.which("setpriv"):
        pytest.skip("needs setpriv: apt-get install util-linux")
    node = own_node
    node.placed(node.outside, "neighbour", ("10.77.16.0/28",))
    seq = node.tail().last

    def newest() -> Applied | ApplyFailed | None:
        found: Applied | ApplyFailed | None = node.newest(f"node.{node.name}.routes")
        return found

    limited = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    done = node.inside(*limited, *node.command())
    assert done.returncode == 1
    assert "cannot turn on forwarding: /proc/sys/net/ipv4/ip_forward: Operation not permitted" in done.stderr
    assert node.inside("sysctl", "-w", "net.ipv4.ip_forward=1").returncode == 0
    node.start(behind=limited)
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


def test_the_end_of_a_sandbox_does_not_follow_the_wish_of_its_successor(own_node: Node) -> None:
    """A static pod's sandbox is replaced while the log is away: its address stays, and so does the wish."""
    node = own_node
    node.start().until_synced()
    old, first = start_requested(node)
    node.nats.kill()
    new = node.pod("static")
    node.delete(old)
    four, six = addresses_in(first)
    again = node.added(new)
    assert [one["address"] for one in again["ips"]] == [f"{four}/32", f"{six}/128"]
    node.nats.start()
    node.until_told()
    wish = node.newest_of(new)
    assert isinstance(wish, SandboxRequested)
    node.delete(old)  # once more, late
    node.until_told()
    assert node.history_of(new) == [wish]


def test_a_static_pod_s_new_sandbox_waits_for_what_its_old_one_gave_back(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    old, _ = start_requested(node)
    node.delete(old)
    until(lambda: isinstance(node.newest_of(old), SandboxRemoved), "it was given back")
    start_requested(node)  # with the addresses that are decided then


def test_a_static_pod_starts_again_after_a_restart_without_the_log(own_node: Node) -> None:
    """The agent that goes on has only the journal to know that its old sandbox had asked for the address."""
    node = own_node
    node.start().until_synced()
    old, first = start_requested(node)
    node.kill()
    node.start().until_synced()
    node.nats.kill()
    node.delete(old)
    new = node.pod("static")
    assert set(addresses_in(node.added(new))) == set(addresses_in(first))
    node.nats.start()
    node.until_told()
    assert [type(one) for one in node.history_of(new)] == [SandboxRequested]


def test_readiness_says_why_the_log_is_not_reached(own_node: Node) -> None:
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
        (("--run-dir", "/dev/null/x"), "--run-dir"),
        (("--state-dir", "/dev/null/x"), "--state-dir"),
    ],
)
def test_options_that_cannot_be_used(own_node: Node, options: tuple[str, ...], said: str) -> None:
    done = own_node.inside(*own_node.command(*options))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("romana-bus: ")
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_caller_that_hangs_up_leaves_nothing(own_node: Node) -> None:
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


def test_a_stopping_agent_tells_who_waits_and_finishes_what_it_began(own_node: Node) -> None:
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


def test_the_socket_is_root_s_alone(own_node: Node) -> None:
    node = own_node
    node.start()
    assert (node.run_dir / "cni.sock").stat().st_mode & 0o777 == 0o600
    assert node.run_dir.stat().st_mode & 0o777 == 0o700


def test_memory_is_small(own_node: Node) -> None:
    node = own_node
    node.start().until_synced()
    status = Path(f"/proc/{node.pid}/status").read_text()
    resident = int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]
    assert resident < 100, f"{resident:.0f} MiB"
