"""A lab whose processes or namespaces were killed or removed from outside, and its repair."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest

from romana_bus.lab.machine import processes
from romana_bus.lab.machine.directory import ROOT, Lab
from tests.cli.processes import until
from tests.lab import iproute
from tests.lab.cluster.lab import Commands
from tests.lab.conftest import needs_root

if TYPE_CHECKING:
    from romana_bus.lab.spec import Spec
    from tests.cli.processes import Home

pytestmark = needs_root


@pytest.mark.parametrize("name", ["nats", "up", "agent-a1", "kubelet-a1"])
def test_killed_processes_are_reported_and_restarted(shared: Commands, name: str) -> None:
    shared("pod", "run", "web", "--node", "a1")
    before = shared.pods()["web"]["addresses"]
    killed = shared.pid(name)
    os.kill(killed, signal.SIGKILL)
    until(lambda: f"Ended: {name}. " in shared("status").out, "it is seen to have ended")
    assert shared("start").out == f"Started: {name}.\n"
    assert shared("start").out == "All processes run already.\n"
    shared("pod", "run", "late", "--node", "a1")
    assert shared.pods()["web"]["addresses"] == before
    assert "4 of 4 pairs" in shared("matrix").out


def test_waiting_pod_shows_which_process_to_start(shared: Commands) -> None:
    os.kill(shared.pid("up"), signal.SIGKILL)
    failed = shared("pod", "run", "web", "--wait", "1", code=1)
    assert f"Ended: up. To start what has ended: romana-bus lab start --name {shared.spec.name}" in failed.err


@pytest.mark.parametrize("name", ["agent-a1", "kubelet-a1"])
def test_stopped_processes_continue(shared: Commands, name: str) -> None:
    pid = shared.pid(name)
    os.kill(pid, signal.SIGSTOP)
    until(lambda: f"{pid} stopped" in shared("status").out, "it is seen to be stopped")
    assert shared("start").out == f"Started: {name}.\n"
    shared("pod", "run", "web", "--node", "a1")


def test_a_node_whose_namespace_was_removed_comes_back_with_its_pods(shared: Commands) -> None:
    shared("pod", "run", "web", "--count", "2", "--node", "a1")
    before = shared.pods()
    iproute.ip("netns", "delete", shared.spec.namespace("a1"))
    assert "a1 (off)" in shared("status").out
    assert "a1" in shared("exec", "a1", "--", "true", code=2).err
    shared("node", "start", "a1")
    until(lambda: shared.pods() == before, "the pods are as they were")
    assert "4 of 4 pairs" in shared("matrix").out


def test_lab_ends_with_its_api_server(shared: Commands) -> None:
    """The last one: the others need it."""
    os.kill(shared.pid("serve"), signal.SIGKILL)
    down = f"romana-bus lab down --name {shared.spec.name}"
    words = f"The API server has ended, and its objects are lost: run {down}"
    until(lambda: words in shared("status").out, "it is seen to have ended")
    shared("start", code=2).complains(2, words)
    shared("pod", "list", code=1).complains(1, words)
    shared("up", code=2).complains(2, "is up already", "whether something has ended")
    bystander = subprocess.Popen(["sleep", "600"])
    try:
        place = Lab.open(shared.spec.name)
        stale = processes.Record("agent-a2", bystander.pid, 1)  # its pid was given to another process
        (ROOT / shared.spec.name / "processes/agent-a2.json").write_bytes(msgspec.json.encode(stale))
        assert not processes.recorded(place)["agent-a2"].alive
        shared("down")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()
    assert shared.is_left() == []
    shared("down")
    shared.up()  # what the other tests' ends expect


def test_lab_with_a_killed_up_is_recognized(home: Home, lab: Spec) -> None:
    run = Commands(home, lab)
    with home.start(*run.up_arguments) as rising:
        rising.until(lambda: "✓ API server" in rising.out, "the API server")
        rising.process.kill()
    assert "left half up" in run("status").out
    run("start", code=2).complains(2, f"romana-bus lab down --name {lab.name}")
    run("up", code=2).complains(2, "left half up")
    run("down")
    assert run.is_left() == []


def test_down_ends_stopped_processes(shared: Commands) -> None:
    shared("pod", "run", "web", "--node", "a1")
    for pid in processes.marked(shared.spec.name):
        os.kill(pid, signal.SIGSTOP)
    iproute.ip("netns", "delete", shared.spec.namespace("a1"))
    Path("/run/netns", f"{shared.spec.prefix}left").touch()  # what a crash leaves of a namespace
    shared("down")
    assert shared.is_left() == []
    shared.up()
