"""A cluster whose pods ask for addresses and networks by annotation, and why one is denied."""

from __future__ import annotations

from typing import Any

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology
from tests.ipam.racks import RACKS

ADDRESS, NETWORK, STICKY = "romana.io/address", "romana.io/network", "romana.io/sticky-address"
NO_TIME = "is not a time: write `true`, 90s, 10m, 2h or 7d"


def racks(**limits: Any) -> dict[str, Any]:
    """Two racks of 64 addresses, blocks of four."""
    document = topology("10.0.0.0/25", 30, *RACKS)
    if limits:
        document["networks"][0]["wishes"] = limits
    return document


def cluster(limits: dict[str, Any] | None = None, **settings: Any) -> Cluster:
    """n1 and n2 in rack a, n3 in b."""
    c = Cluster(racks(**limits or {}), **{"warm_blocks": 0, **settings})
    for name, rack in (("n1", "a"), ("n2", "a"), ("n3", "b")):
        c.node(name, {"rack": rack})
    c.decide()
    return c


def request(c: Cluster, key: str, node: str, **more: str) -> list[str]:
    """Adds a pod with these annotations; returns what is decided then."""
    names = {"address": ADDRESS, "network": NETWORK, "sticky": STICKY}
    uid = more.pop("uid", f"uid-{key}")
    c.pod(key, node, annotations={names[name]: value for name, value in more.items()}, uid=uid)
    return c.says()


def why(c: Cluster, key: str) -> str:
    name = key.partition("/")[2]
    (event,) = (event for event in c.newest(ev.AddressDenied) if event.name == name)
    assert event.code in ("wish", "wish_limit")
    return event.reason


def retained(c: Cluster) -> list[ev.CoolingAddress]:
    events = c.newest(ev.AddressReleased)
    return [one for event in events for one in event.cooling if one.kept and one.until > c.state.now]


def single_blocks(c: Cluster) -> list[str]:
    """The blocks of one address: each is a route on every node of the group."""
    return [block for block in c.blocks() if block.endswith("/32")]
