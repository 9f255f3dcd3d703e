"""The same facts give the same decisions in every process: sets of strings are ordered differently in
each, so whatever iterates one unsorted is found here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from romana_bus.ipam import decide, parts
from tests.ipam.cluster import Cluster

if TYPE_CHECKING:
    from romana_bus.ipam import State

PROGRAM = """
import random
from romana_bus.events import codec
from tests.ipam.cluster import Cluster, topology
racks = [{"name": r, "assignment": {"rack": r}, "groups": [{"name": "1"}, {"name": "2"}]} for r in "abc"]
for settings in ({}, {"block_owner": "segment", "warm_blocks": 2}):
    for document in (None, topology("10.0.0.0/23", 30, *racks)):
        order = random.Random(7)
        c = Cluster(document, **settings)
        for turn in range(40):
            for _ in range(order.randrange(12)):
                node, pod = f"n{order.randrange(20)}", f"{order.choice(('web', 'db'))}/{order.randrange(300)}"
                if order.random() < 0.2:
                    labels = {"rack": order.choice("abc"), "topology.kubernetes.io/zone": order.choice("xyz")}
                    c.node(node, labels)
                elif order.random() < 0.05:
                    c.no_node(node)
                elif order.random() < 0.2:
                    (c.sandbox if order.random() < 0.6 else c.no_sandbox)(pod, node, order.choice(("", "x")))
                elif order.random() < 0.7:
                    c.pod(pod, node, order.choice(("", "front")))
                else:
                    c.no_pod(pod)
            for decision in c.decide():
                print(decision.cause, codec.encode(decision.event).decode())
            c.later(7)
"""


def test_decided_in_parts_it_is_the_same() -> None:
    """The first decision of a large cluster is had in parts, so that others run meanwhile."""

    def first_decision() -> State:
        cluster = Cluster(synced=False)
        for node in range(6):
            cluster.node(f"n{node}", {"topology.kubernetes.io/zone": f"z{node % 2}"})
        for pod in range(200):
            cluster.pod(f"web/p{pod}", f"n{pod % 6}")
        cluster.sync()
        return cluster.state

    whole = decide(first_decision())
    for size in (1, 7, 1000):
        divided = list(parts(first_decision(), size))
        assert [decision for part in divided for decision in part] == whole
        assert len(divided) >= len(whole) // (size + 20)  # hosts are placed in one go


def test_another_order_of_sets_changes_nothing() -> None:
    root = Path(__file__).parents[2]
    said = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        command = [sys.executable, "-c", PROGRAM]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        said.add(done.stdout)
    assert len(said) == 1
    assert len(said.pop().splitlines()) > 500
