"""Debian's portmap and bandwidth behind ours, as libcni chains them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.cni.calling import CLIENTS, PLUGINS, execute, invoke, until

if TYPE_CHECKING:
    from tests.cni.calling import Answer, Pod
    from tests.cni.node import Node

VERSION = "1.0.0"  # the newest that Debian 12's know


def needed(*plugins: str) -> None:
    for name in plugins:
        if not (PLUGINS / name).exists():
            pytest.skip(f"{PLUGINS / name} is missing: apt-get install containernetworking-plugins")


def chain(node: Node, pod: Pod, command: str, plugins: list[dict[str, Any]], result: Any = None) -> Any:
    """One command through the list, in the node's namespace; gives the last result."""
    environment = {
        "CNI_COMMAND": command, "CNI_CONTAINERID": pod.container, "CNI_NETNS": pod.path, "CNI_IFNAME": "eth0",
        "CNI_ARGS": pod.arguments, "CNI_PATH": str(PLUGINS), "PATH": os.environ["PATH"],
    }  # fmt: skip
    for plugin in plugins if command != "DEL" else plugins[::-1]:
        config = node.config(**plugin, cniVersion=VERSION)
        if result is not None:
            config["prevResult"] = result
        ours = plugin.get("type", "romana-cni") == "romana-cni"
        executable = CLIENTS["c"] if ours else PLUGINS / plugin["type"]
        answer = run_in(node, executable, environment, config)
        assert answer.code == 0, answer
        if command == "ADD":
            result = answer.json
    return result


def run_in(node: Node, executable: Any, environment: dict[str, str], config: Any) -> Answer:
    """In the namespace of the node, as a runtime runs there."""
    return invoke("ip", environment, json.dumps(config).encode(),
                  "netns", "exec", node.netns, str(executable))  # fmt: skip


def test_host_port_reaches_the_pod(node: Node) -> None:
    needed("portmap")
    if not shutil.which("iptables"):
        pytest.skip("portmap needs iptables: apt-get install iptables")
    pod = node.pod()
    node.decided(pod, *node.fresh())
    mappings = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    plugins: list[dict[str, Any]] = [
        {},
        {"type": "portmap", "snat": True, "runtimeConfig": {"portMappings": mappings}},
    ]
    result = chain(node, pod, "ADD", plugins)
    assert [one["name"] for one in result["interfaces"]][1] == "eth0"
    server = "import socket; s=socket.create_server(('',80)); c,_=s.accept(); c.sendall(b'hello'); c.close()"
    listening = node.background(pod.netns, "python3", "-c", server)
    until(lambda: ":80 " in execute(pod.netns, "ss", "-ltn").stdout, "the pod listens")
    asking = (
        "import socket,sys; "
        f"c=socket.create_connection(('{node.address}',8080),5); print(c.makefile().read())"
    )
    done = execute_here("python3", "-c", asking)
    assert "hello" in done.stdout, done
    assert listening.wait(10) == 0
    # portmap's own CHECK looks for every rule in both families (1.1.1): it fails behind any plugin.
    chain(node, pod, "CHECK", plugins[:1], result)
    chain(node, pod, "DEL", plugins, result)
    assert "8080" not in node.inside("iptables", "-t", "nat", "-S").stdout


def test_the_bandwidth_of_a_pod_is_limited(node: Node) -> None:
    needed("bandwidth")
    pod = node.pod()
    node.decided(pod, *node.fresh())
    rate, burst = 8_000_000, 80_000
    limits = {"ingressRate": rate, "ingressBurst": burst, "egressRate": rate, "egressBurst": burst}
    plugins: list[dict[str, Any]] = [{}, {"type": "bandwidth", "runtimeConfig": {"bandwidth": limits}}]
    result = chain(node, pod, "ADD", plugins)
    host = result["interfaces"][0]["name"]
    assert "rate 8Mbit burst 10000b" in node.inside("tc", "qdisc", "show", "dev", host).stdout
    chain(node, pod, "CHECK", plugins, result)
    chain(node, pod, "DEL", plugins, result)
    assert host not in node.links()


def execute_here(*command: str) -> Any:
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
