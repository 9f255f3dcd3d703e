"""What is played on a simulated cluster, in short words, and small topologies to play it on."""

from __future__ import annotations

from typing import Any

from tests.ipam.cluster import topology


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


def block(cidr: str, host: str, tenant: str, segment: str, count: int) -> dict[str, Any]:
    return {"cidr": cidr, "host": host, "tenant": tenant, "segment": segment, "allocated_ip_count": count}


ONE = topology("10.0.0.0/24", 30, hosts("n1", "n2"))
TINY = topology("10.0.0.0/31", 31, hosts("n1"))
