"""What a kubelet does with a pod that does not start or ends, and what the log has of it then."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from romana_bus.events import SandboxRemoved, SandboxRequested
from tests.cni.calling import until

if TYPE_CHECKING:
    from tests.cni.calling import Pod
    from tests.cni.node import Node


#: Uids as a kubelet makes them for the pods of its files.
STATIC, OTHER = "5d41402abc4b2a76b9719d911017c592", "7d793037a0760186574b0282f2f435e7"
ROUNDS = 100

_tries = itertools.count(1)


def try_of(pod: Pod) -> Pod:
    """The pod's next sandbox."""
    return pod._replace(container=f"{pod.container}-{next(_tries)}")


def fails(node: Node, pod: Pod, timeout: float = 0, code: int = 11) -> None:
    """One try of a kubelet. The runtime removes what has failed, and does so again when it collects it."""
    sandbox = try_of(pod)
    node.add(sandbox, timeout=timeout).fails(code)
    for _ in range(2):
        node.delete(sandbox)


def history(node: Node, pod: Pod) -> list[type[Any]]:
    return [type(event) for event in node.history_of(pod)]


def asked(node: Node, name: str = "asked") -> Pod:
    """A pod whose request stands on the log, and whose first try has failed."""
    pod = node.pod(name)
    try_until_asked(node, pod)
    assert history(node, pod) == [SandboxRequested]
    return pod


def try_until_asked(node: Node, pod: Pod) -> None:
    """One try, which fails once the request is on the log."""
    with ThreadPoolExecutor(1) as threads:
        trying = threads.submit(fails, node, pod, 1.0)
        until(lambda: node.newest_of(pod), "it is asked for", node.log)
        trying.result()


def start_decided(node: Node) -> tuple[Pod, Any]:
    """A static pod whose address was decided before it starts, and the result; the log has its request."""
    pod = node.pod("static", STATIC)
    node.decided(pod, *node.fresh())
    result = node.added(pod)
    node.until_published()
    return pod, result


def start_requested(node: Node) -> tuple[Pod, Any]:
    """A static pod whose address is decided when it is requested, and the result."""
    pod = node.pod("static")
    with ThreadPoolExecutor(1) as threads:
        adding = threads.submit(node.added, pod)
        until(lambda: isinstance(node.newest_of(pod), SandboxRequested), "it is asked for")
        addresses = node.decided(pod, *node.fresh())
        result = adding.result()
    assert addresses_in(result) == list(addresses)
    return pod, result


def addresses_in(result: Any) -> list[str]:
    """The IPv4 and the IPv6 address in a CNI result."""
    return [one["address"].partition("/")[0] for one in result["ips"]]


def until_ended(node: Node, pod: Pod) -> None:
    until(lambda: history(node, pod)[-1] is SandboxRemoved, "its end is on the log", node.log)
    node.until_published()
    assert history(node, pod) == [SandboxRequested, SandboxRemoved]
