"""Groups that nodes are placed in by their rack, and where each node is."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology

ZONE = "topology.kubernetes.io/zone"
RACKS = topology(
    "10.0.0.0/24", 30,
    {"name": "a", "assignment": {"rack": "a"}, "groups": []},
    {"name": "b", "assignment": {"rack": "b"}, "groups": []},
    {"name": "any", "assignment": {"disk": "ssd"}, "groups": []},
)  # fmt: skip


def placed(cluster: Cluster) -> dict[str, str]:
    cluster.decide()
    return {host.node: host.placements[0].group for host in cluster.newest(ev.HostPlaced)}
