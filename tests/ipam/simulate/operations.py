"""What is played on a simulated cluster, in short words."""

from __future__ import annotations

from typing import Any


def hosts(*names: str) -> dict[str, Any]:
    """A group that lists them."""
    listed = [{"name": name, "ip": f"192.0.2.{at}"} for at, name in enumerate(names, 1)]
    return {"name": "all", "groups": listed}


def ask(name: str, host: str = "n1", tenant: str = "web", segment: str = "") -> dict[str, Any]:
    return {"op": "allocate", "name": name, "host": host, "tenant": tenant, "segment": segment}


def give(name: str) -> dict[str, Any]:
    return {"op": "deallocate", "name": name}


def join(name: str, ip: str = "", **tags: str) -> dict[str, Any]:
    ip = ip or f"192.0.2.{sum(name.encode()) % 251 + 1}"
    return {"op": "add_host", "name": name, "ip": ip, "tags": tags}


def leave(name: str) -> dict[str, Any]:
    return {"op": "remove_host", "name": name}


def label(name: str, **tags: str) -> dict[str, Any]:
    return {"op": "update_labels", "name": name, "tags": tags}


def shut(cidr: str) -> dict[str, Any]:
    return {"op": "blackout", "cidr": cidr}


def open_(cidr: str) -> dict[str, Any]:
    return {"op": "unblackout", "cidr": cidr}


def change(document: Any) -> dict[str, Any]:
    return {"op": "update_topology", "topology": document}
