"""Debian's containerd calls romana-cni: by `ctr run --cni`, and by its CRI as a kubelet uses it."""

from __future__ import annotations

import contextlib
import itertools
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import grpc
import pytest

from romana_bus.cni.spec import CONTAINERS
from tests.cni.calling import until
from tests.cni.runtimes import image
from tests.cni.runtimes.containerd import Containerd
from tests.cni.runtimes.cri import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.cni.runtimes.site import Site

#: A sandbox is some ten processes, one after the other: on a busy machine that takes its time.
pytestmark = pytest.mark.timeout(400)

MANY = 50
#: Sandboxes that are started while the runtime or the agent is killed.
SOME = 8
_names = itertools.count(1)


@pytest.fixture(scope="module")
def containerd(site: Site, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Containerd]:
    with Containerd(site.machine, tmp_path_factory.mktemp("c") / "c", archive) as running:
        yield running


class Kubelet:
    """Starts and removes pods by the CRI, each in a thread of its own."""

    def __init__(self, site: Site, containerd: Containerd) -> None:
        self._site, self._containerd = site, containerd

    def pods(self, count: int, *ports: tuple[int, int]) -> list[Sandbox]:
        names = [f"pod-{next(_names)}" for _ in range(count)]
        return [Sandbox(name, f"uid-{name}", self._site.machine.cgroup, ports) for name in names]

    def start(self, pods: list[Sandbox]) -> dict[str, str]:
        """Id -> address, of their sandboxes. Each is tried until it runs."""
        with ThreadPoolExecutor(len(pods)) as threads:
            ids = list(threads.map(self._start, pods))
        return self.addresses(ids)

    def _start(self, pod: Sandbox) -> str:
        attempts = itertools.count()

        def attempt() -> str:
            with contextlib.suppress(grpc.RpcError), self._containerd.cri() as cri:
                return cri.run(pod._replace(attempt=next(attempts)))
            return ""

        return str(until(attempt, f"{pod.name} runs", self._containerd.log, 90.0))

    def addresses(self, ids: list[str]) -> dict[str, str]:
        """Each sandbox is ready and has one address, which nobody else has."""
        with self._containerd.cri() as cri:
            states = {each: cri.status(each) for each in ids}
        assert all(state.ready for state in states.values())
        found = {each: address for each, state in states.items() for address in state.addresses}
        assert len(set(found.values())) == len(found) == len(ids)
        return found

    def remove_all(self) -> None:
        with self._containerd.cri() as cri, ThreadPoolExecutor(MANY) as threads:
            for do in (cri.stop, cri.remove):
                list(threads.map(do, cri.listed()))
            assert not cri.listed()


@pytest.fixture
def kubelet(site: Site, containerd: Containerd) -> Iterator[Kubelet]:
    yield (kubelet := Kubelet(site, containerd))
    kubelet.remove_all()
    site.until_nothing_is_left()


def test_ctr_runs_a_container_with_an_address(site: Site, containerd: Containerd) -> None:
    options = ("--cni", "--snapshotter", "native", "--cgroup", f"{site.machine.cgroup}/web")
    command = containerd.ctr_command("run", *options, image.NAME, "web")
    running = site.machine.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        (held,) = until(site.held, "it has an address", site.node.log)
        assert held["namespace"] == CONTAINERS
        until(site.node.routes, "it is attached", site.node.log)
        assert site.unreachable(held["addresses"]) == set()
        containerd.ctr("task", "kill", "--signal", "KILL", "web")
        running.communicate(timeout=60)
    finally:
        running.kill()
        running.communicate()
    site.until_nothing_is_left()


def test_50_sandboxes_at_once_live_through_a_restart(
    site: Site, containerd: Containerd, kubelet: Kubelet
) -> None:
    addresses = kubelet.start(kubelet.pods(MANY))
    assert site.unreachable(addresses.values()) == set()
    containerd.restart()
    assert kubelet.addresses(list(addresses)) == addresses
    assert site.unreachable(addresses.values()) == set()
    (later,) = kubelet.start(kubelet.pods(1)).values()
    assert later not in addresses.values()
    assert site.unreachable([later]) == set()


def test_host_port(site: Site, kubelet: Kubelet) -> None:
    (pod,) = kubelet.pods(1, (30080, image.PORT))
    kubelet.start([pod])
    assert site.until_answered(30080) == pod.name
    kubelet.remove_all()
    assert site.answer(30080) == ""


def killed_runtime(site: Site, containerd: Containerd) -> None:
    containerd.kill()
    containerd.start()


def killed_agent(site: Site, containerd: Containerd) -> None:
    site.node.kill()
    site.start_agent()


@pytest.mark.parametrize("fault", [killed_runtime, killed_agent])
def test_all_are_served_after_a_kill(
    site: Site, containerd: Containerd, kubelet: Kubelet, fault: Callable[[Site, Containerd], None]
) -> None:
    before = kubelet.start(kubelet.pods(2))
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(kubelet.start, kubelet.pods(SOME))
        until(lambda: len(site.node.attached()) > len(before), "some are attached", site.node.log)
        fault(site, containerd)
        addresses = starting.result() | before
    assert kubelet.addresses(list(addresses)) == addresses
    assert site.unreachable(addresses.values()) == set()
    with ThreadPoolExecutor(1) as threads:
        removing = threads.submit(kubelet.remove_all)
        until(lambda: len(site.node.attached()) < len(addresses), "some are detached", site.node.log)
        fault(site, containerd)
        with contextlib.suppress(grpc.RpcError):  # what is left is removed at the end
            removing.result()
