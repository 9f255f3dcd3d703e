"""A lab's zones, nodes and processes, and commands to try, printed."""

from __future__ import annotations

import shutil
from typing import Any

from romana_bus.cli.common import console
from romana_bus.cli.common.terminal import Text
from romana_bus.lab.cluster import fabric, power, services, up
from romana_bus.lab.inspect import names
from romana_bus.lab.machine import netns, processes
from romana_bus.lab.machine.directory import RELAY_PORT, Lab


def document(lab: Lab) -> dict[str, Any]:
    """The output of `lab status --json`."""
    spec, running = lab.spec, processes.recorded(lab)
    pods, plugged = names.pods(lab), fabric.plugged(spec)
    return {
        "name": spec.name,
        "up": lab.facts.up,
        "directory": str(lab.directory),
        "server": lab.facts.server,
        "kubeconfig": up.kubeconfig_file(lab),
        "nats": up.nats_listens(lab) is not None,
        "router": spec.router,
        "zones": [
            {
                "name": zone.name,
                "prefixes": list(lab.prefixes().get(zone.name, ())),
                "gateways": list(zone.gateways),
            }
            for zone in spec.zone_list
        ],
        "nodes": [
            {
                "name": node.name,
                "zone": node.zone,
                "addresses": list(node.addresses),
                "namespace": spec.namespace(node.name),
                "on": netns.exists(spec.namespace(node.name)),
                "linked": node.name in plugged,
                "pods": sum(pod.node == node.name for pod in pods),
            }
            for node in spec.nodes
        ],
        "processes": [
            {
                "name": name,
                "pid": running[name].pid,
                "alive": running[name].alive,
                "stopped": running[name].stopped,
            }
            for name in services.everything(lab)
            if name in running
        ],
    }


def show_lab(lab: Lab) -> None:
    shown = document(lab)
    running = {process["name"]: process for process in shown["processes"]}
    _show_zones(shown)
    _show_nodes(lab, shown, running)
    console.section("shared processes and files", console.pairs(_around(lab, shown, running)))
    if advice := power.what_to_do(lab):
        console.hint(advice)


def _show_zones(shown: dict[str, Any]) -> None:
    table = console.table("zone", "pods get", "nodes reach the router and NATS at")
    for zone in shown["zones"]:
        table.add_row(zone["name"], ", ".join(zone["prefixes"]), ", ".join(zone["gateways"]))
    console.section(f"lab {shown['name']}", table)


def _show_nodes(lab: Lab, shown: dict[str, Any], running: dict[str, Any]) -> None:
    columns = ("agent", "kubelet", "pods")
    table = console.table("node", "zone", "address", *columns, "namespace", right=columns)
    for node, spec in zip(shown["nodes"], lab.spec.nodes, strict=True):
        agent = Text("-") if lab.spec.conflist else _pid(running, services.agent(spec))
        table.add_row(
            _name(node),
            node["zone"],
            ", ".join(node["addresses"]),
            agent,
            _pid(running, services.kubelet(spec)),
            str(node["pods"]),
            node["namespace"],
        )
    console.section("nodes, with the pids of their processes", table)


def _name(node: dict[str, Any]) -> Text:
    if node["on"] and node["linked"]:
        return Text(node["name"])
    return Text(f"{node['name']} ({'cut off' if node['on'] else 'off'})", "red")


def _pid(running: dict[str, Any], name: str) -> Text:
    process = running.get(name)
    if not process or not process["alive"]:
        return Text("ended", "red")
    return Text(f"{process['pid']} stopped", "yellow") if process["stopped"] else Text(str(process["pid"]))


def _around(lab: Lab, shown: dict[str, Any], running: dict[str, Any]) -> dict[str, str]:
    def state(name: str) -> str:
        pid = _pid(running, name)
        return str(pid) if pid.style == "red" else f"pid {pid}"

    nats = f"port {lab.nats().port} on loopback, {RELAY_PORT} at the gateways" if shown["nats"] else "stopped"
    server = shown["server"] or "from the kubeconfig"
    return {
        "NATS": f"{nats}; {state(services.NATS)}",
        "watcher and addresses": state(services.BUS),
        "API server": f"{server}; {state(services.SERVE)}",
        "kubeconfig": shown["kubeconfig"],
        "router": shown["router"],
        "logs": f"{shown['directory']}/logs",
    }


def show_commands(lab: Lab, title: str = "try") -> None:
    """Print commands that can be pasted in this order: the first sets the environment of the others."""
    list_pods = "kubectl get pods -o wide" if shutil.which("kubectl") else "romana-bus lab matrix"
    commands_ = {
        f". {lab.directory}/env": "the commands below use this lab",
        "romana-bus lab pod run web --count 3": "more pods",
        "romana-bus lab ping web-1 web-3": "a ping, and the path of the packets",
        f"romana-bus ipam show; {list_pods}": "addresses and pods",
        "romana-bus lab down": "removes everything",
    }
    longest = max(map(len, commands_))
    lines = [f"  {command:{longest}}  # {what}" for command, what in commands_.items()]
    console.section(title, *map(Text, lines))
