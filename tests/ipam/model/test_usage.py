"""What is free in a group, where a topology gives smaller groups than the blocks that exist."""

from __future__ import annotations

from romana_bus import events as ev
from romana_bus.inet import V4
from romana_bus.ipam.model.usage import free_by_leaf, usage_index
from tests.ipam.cluster import Cluster, topology


def test_a_block_that_is_larger_than_todays_groups_counts_in_each_of_them() -> None:
    cluster = Cluster(topology("10.0.0.0/26", 28))
    cluster.node("n1", {"rack": "a"})
    for name in "abcdefghij":
        cluster.pod(f"web/{name}", "n1")
    cluster.decide()
    groups = [{"name": f"g{number}", "groups": []} for number in range(8)]
    cluster.send(ev.TopologySet(document=topology("10.0.0.0/26", 29, *groups)))
    cluster.decide()
    index = usage_index(cluster.state)[V4]
    leaves = cluster.state.topology.leaves
    assert [str(leaf.prefix) for leaf in leaves[:3]] == ["10.0.0.0/29", "10.0.0.8/29", "10.0.0.16/29"]
    free = free_by_leaf(cluster.state)
    assert free == [index.free(leaf.prefix) for leaf in leaves]
    assert free == [0, 6, 8, 8, 8, 8, 8, 8]
