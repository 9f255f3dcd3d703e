"""Two groups, each for the nodes of a rack, and a node with a pod in each of them."""

from __future__ import annotations

from typing import Any

from tests.ipam.cluster import Cluster, topology

RACKS = [{"name": name, "assignment": {"rack": name}} for name in "ab"]


def two_racks(**settings: Any) -> Cluster:
    """web/a on n1 has 10.0.0.0, and web/b on n2 has 10.0.0.64."""
    c = Cluster(topology("10.0.0.0/25", 30, *RACKS), warm_blocks=0, **settings)
    c.node("n1", {"rack": "a"})
    c.node("n2", {"rack": "b"})
    c.pod("web/a", "n1")
    c.pod("web/b", "n2")
    c.decide()
    return c
