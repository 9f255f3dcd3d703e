"""What a consumer reads of a stream, and what it leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.bus.api import Outgoing
from romana_bus.bus.memory import MemoryStore
from romana_bus.consumers.ipam import decider
from romana_bus.events import (
    IPAM,
    KUBE,
    NODE,
    SPEC,
    NamespaceSeen,
    NodeNetwork,
    NodeSeen,
    PolicySeen,
    ResourceSynced,
    SandboxRequested,
    Wired,
)
from romana_bus.ipam import Settings
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.fold import Fold

if TYPE_CHECKING:
    from romana_bus.events import Event

FACTS: tuple[Event, ...] = (
    NodeSeen(resource_version="1", uid="u", name="n1", addresses=("10.0.0.1",)),
    NamespaceSeen(resource_version="2", uid="v", name="web"),
    PolicySeen(resource_version="3", uid="w", namespace="web", name="deny"),
    ResourceSynced(resource="nodes", resource_version="4", count=1),
)


async def test_ipam_reads_only_the_subjects_that_it_uses() -> None:
    """A policy, a namespace, and what a newer version or a third party writes: neither read nor parked, not
    at the start and not later. The position is behind them."""
    memory = MemoryStore()
    await memory.prepare((SPEC, KUBE, IPAM, NODE))
    messages = [outgoing(event, "", 1, 3600) for event in FACTS]
    messages += [Outgoing("kube.service.web.a", b"{", time=1), Outgoing("kube.policy.web.a", b"{", time=1)]
    await memory.batch(KUBE, 0, messages)
    fold = Fold(memory, decider(Settings()), "test")
    await fold.boot()
    assert list(fold.state.hosts) == ["n1"]
    assert fold.parked.count == 0
    await memory.batch(KUBE, 6, messages)
    assert fold.take() == 2, "the node and its mark"
    assert fold.parked.count == 0
    assert fold.feed.positions[KUBE].seq == 12
    assert await fold.feed.lost(dict(fold.feed.positions)) == []
    await memory.batch(KUBE, 12, [Outgoing("kube.node.-.n2", b"{", time=1)])
    fold.take()
    assert fold.parked.count == 1, "junk about a node is told"
    await fold.feed.close()


async def test_ipam_reads_of_agents_only_sandboxes_and_what_their_nodes_live_on() -> None:
    memory = MemoryStore()
    await memory.prepare((SPEC, KUBE, IPAM, NODE))
    await memory.batch(KUBE, 0, [outgoing(FACTS[0], "", 1, 3600)])
    events: list[Event] = [
        Wired(node="n1", consumer="cni"),
        NodeNetwork(node="n1", consumer="network", connected=("192.0.2.0/24",)),
        SandboxRequested(node="n1", namespace="web", name="a", uid="u", sandbox="s"),
    ]
    junk = [Outgoing(subject, b"{", time=1) for subject in ("node.n1.cri.web.a", "node.-.parked.ipam")]
    messages = [*(outgoing(event, "", 1, 3600) for event in events), *junk]
    await memory.batch(NODE, 0, messages)
    fold = Fold(memory, decider(Settings()), "test")
    await fold.boot()
    assert [claim.text for claim in fold.state.hosts["n1"].underlay] == ["192.0.2.0/24"]
    assert list(fold.state.sandboxes) == ["web/a"]
    await memory.batch(NODE, 5, messages)
    assert fold.take() == 2
    assert (fold.parked.count, fold.feed.positions[NODE].seq) == (0, 10)
    await fold.feed.close()
