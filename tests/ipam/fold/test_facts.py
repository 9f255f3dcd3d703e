"""What is believed of the facts, when anything is decided at all, and what each decision names as cause."""

from __future__ import annotations

import random

import msgspec

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.ipam import State, Tick, decide, evolve, refusals, wake
from tests.ipam.cluster import Cluster, topology


def test_nothing_is_decided_before_nodes_and_pods_are_listed_in_full() -> None:
    c = Cluster(topology(), synced=False)
    c.node("n1")
    c.pod("web/a", "n1")
    assert c.says() == []
    assert c.state.obstacle == "not listed in full yet: nodes, pods"
    c.sync("nodes")
    assert c.says() == []
    c.sync("pods")
    assert len(c.says()) == 4
    assert c.state.obstacle == ""


def test_nothing_is_swept_while_they_are_listed_again() -> None:
    c = Cluster(topology())
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    c.send(ev.ResourceListing(resource="pods", reason="expired"))
    c.no_pod("web/a")
    assert c.says() == []
    c.sync("pods")
    assert c.says() == ["web/a on n1: released, the pod is gone"]


def pod(version: str, node: str = "n1", uid: str = "u") -> ev.PodSeen:
    return ev.PodSeen(resource_version=version, uid=uid, namespace="web", name="a", node=node)


def gone(version: str) -> ev.PodGone:
    return ev.PodGone(resource_version=version, uid="u", namespace="web", name="a")


def node(version: str, name: str = "n1") -> ev.NodeSeen:
    return ev.NodeSeen(resource_version=version, uid="u", name=name)


def no_node(version: str, name: str = "n1") -> ev.NodeGone:
    return ev.NodeGone(resource_version=version, uid="u", name=name)


def where(c: Cluster) -> str | None:
    return c.state.pods["web/a"].node if "web/a" in c.state.pods else None


def test_the_newest_message_counts_whatever_version_it_has() -> None:
    """What is older than what was told is left out by the watcher, which alone writes facts. A reader that
    compared versions would know something else than one that has only the newest messages."""
    c = Cluster()
    c.send(pod("10", "n1"), pod("9", "n2"))
    assert where(c) == "n2"
    c.send(gone("8"))
    assert where(c) is None
    c.send(pod("7", "n3"))
    assert where(c) == "n3"
    c.send(pod("opaque", "n4"), node("5"), no_node("4"))
    assert where(c) == "n4"
    assert "n1" not in c.state.hosts
    c.send(node("3"))
    assert c.state.hosts["n1"].seen


def test_restored_api_server_is_trusted_again() -> None:
    c = Cluster(topology())
    c.send(node("50"), pod("60"))
    c.send(ev.PodGone(resource_version="70", uid="v", namespace="web", name="b"), no_node("70", "n2"))
    c.decide()
    for resource in ("nodes", "pods"):
        c.send(ev.ResourceListing(resource=resource, reason="restored from a backup", rewound=True))
    c.send(node("5"), node("5", "n2"), pod("6", uid="w"))
    c.send(ev.PodSeen(resource_version="7", uid="v", namespace="web", name="b", node="n1"))
    c.sync()
    assert c.says() == [
        "web/a on n1: released, a new pod of the same name took its place",
        "n2 is in net all 10.0.0.0/24",
        "web/a on n1: 10.0.0.1",
        "web/b on n1: 10.0.0.2",
        "10.0.0.8/30 to n2",
    ]


def test_other_facts_are_ignored() -> None:
    c = Cluster()
    c.send(ev.NamespaceSeen(resource_version="1", uid="u", name="web"))
    c.send(ev.PolicySeen(resource_version="1", uid="u", namespace="web", name="p"))
    c.send(ev.ObjectSeen(resource_version="1", uid="u", resource="g/v1/things", name="x"))
    c.send(ev.LeaderElected(stream="IPAM", term=1, holder="me"))
    c.send(ev.ResourceListing(resource="namespaces", reason="start"))
    assert c.says() == []


def test_time_never_goes_back() -> None:
    c = Cluster(now=1_000)
    c.tick(10)
    assert c.state.now == 1_000 * SECOND


# --- causes ---


def test_every_decision_names_the_fact_that_made_it_necessary() -> None:
    c = Cluster(topology("10.0.0.0/28", 30))
    c.node("n1")
    c.pod("web/a", "n1")
    assert c.causes() == [
        "KUBE/3: n1 is in net all 10.0.0.0/28",
        "KUBE/4: 10.0.0.0/30 to n1",
        "KUBE/4: web/a on n1: 10.0.0.0",
        "KUBE/3: 10.0.0.4/30 to n1",
    ]
    c.no_pod("web/a")
    assert c.causes() == ["KUBE/5: web/a on n1: released, the pod is gone"]
    c.later(30)
    assert c.causes() == [": 10.0.0.4/30 from n1"]
    c.pod("web/b", "n1")
    c.pod("web/c", "n9")
    assert c.causes() == [
        "KUBE/6: web/b on n1: 10.0.0.0",
        "KUBE/7: web/c on n9: host_unknown",
        "KUBE/3: 10.0.0.4/30 to n1",
    ]
    c.no_node("n1")
    assert c.causes() == []
    c.no_pod("web/b")
    assert c.causes() == [
        "KUBE/9: web/b on n1: released, the pod is gone",
        "KUBE/8: 10.0.0.0/30 from n1",
        "KUBE/8: 10.0.0.4/30 from n1",
        "KUBE/8: n1 is removed",
    ]


def test_a_group_names_the_first_node_that_showed_its_zone() -> None:
    c = Cluster(warm_blocks=0)
    c.node("n2")
    c.node("n1")
    assert c.causes()[0] == "KUBE/4: group no zone is 100.64.0.0/13"


def test_without_a_sequence_there_is_no_cause() -> None:
    state = State()
    evolve(state, node("1"))
    for resource in ("nodes", "pods"):
        evolve(state, ev.ResourceSynced(resource=resource, resource_version="1", count=1))
    assert {decision.cause for decision in decide(state)} == {""}


# --- waking up ---


def test_it_wakes_when_the_next_cooldown_ends() -> None:
    c = Cluster(topology())
    c.node("n1")
    c.pod("web/a", "n1")
    c.pod("web/b", "n1")
    c.decide()
    assert wake(c.state) is None
    start = c.state.now
    c.no_pod("web/a")
    c.decide()
    c.later(10)
    c.no_pod("web/b")
    c.decide()
    assert wake(c.state) == start + 30 * SECOND
    evolve(c.state, Tick(start + 30 * SECOND))
    assert wake(c.state) == start + 40 * SECOND
    evolve(c.state, Tick(start + 40 * SECOND))
    assert wake(c.state) is None


def test_ended_entities_leave_no_state() -> None:
    """However many pods and nodes have come and gone."""
    c = Cluster(topology(), order_memory=60 * SECOND)
    for turn in range(5):
        c.node(f"n{turn}")
        c.pod(f"web/{turn}", f"n{turn}")
        c.decide()
        c.no_pod(f"web/{turn}")
        c.no_node(f"n{turn}")
        c.decide()
        c.later(100)
        c.decide()
    c.later(700)
    state = c.state
    assert (state.hosts, state.pods, state.blocks, state.timers) == ({}, {}, {}, [])
    c.later(700)
    assert c.state.gone_pods.version("web/4") == 0


# --- a table that is not as it should be ---


def test_block_overlapping_an_owned_one_is_refused_and_released() -> None:
    """It is no work of ours; where a store brings it, nothing in it is given out twice."""
    c = Cluster(topology("10.0.0.0/28", 30), warm_blocks=0, cooldown=0)
    c.node("n1")
    c.node("n2")
    c.pod("web/0", "n1")
    c.decide()
    c.send(
        ev.BlockAssigned(network="net", block="10.0.0.0/29", node="n1", since=1),
        ev.BlockAssigned(network="net", block="10.0.0.0/30", node="n2", since=2**62),
        ev.BlockAssigned(network="net", block="10.0.0.1/32", node="n2", since=0),
    )
    assert [reason for _, _, _, reason in refusals(c.state)] == [
        "refused: node n1 has 10.0.0.0/30, which overlaps it",
        "refused: it belongs to node n1",
        "refused: node n1 has 10.0.0.0/30, which overlaps it",
    ]
    c.pod("web/1", "n1")
    assert c.says() == [
        "10.0.0.0/29 from n1",
        "10.0.0.0/30 from n2",
        "10.0.0.1/32 from n2",
        "web/1 on n1: 10.0.0.1",
    ]
    assert list(refusals(c.state)) == []
    assert c.rebuilt().says() == []


def test_refused_event_counts_once_the_contradiction_is_gone() -> None:
    """To a reader that decides nothing, as to one that has read nothing but the newest messages."""
    c = Cluster(topology())
    c.send(
        ev.BlockAssigned(network="net", block="10.0.0.0/30", node="n1", since=1),
        ev.BlockAssigned(network="net", block="10.0.0.0/30", node="n2", since=2),
    )
    for other in (c, c.rebuilt()):
        assert other.state.blocks["10.0.0.0/30"].node == "n1"
    c.send(ev.BlockReleased(network="net", block="10.0.0.0/30", node="n1", at=3, until=3))
    for other in (c, c.rebuilt()):
        assert other.state.blocks["10.0.0.0/30"].node == "n2"
        assert list(refusals(other.state)) == []


def test_an_address_may_come_before_its_block_and_a_block_before_its_node() -> None:
    c = Cluster(topology(), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    for seed in range(20):
        other = c.rebuilt(random.Random(seed))
        assert other.decide() == []
        other.pod("web/b", "n1")
        assert other.says() == ["web/b on n1: 10.0.0.1"]


def test_a_block_that_is_much_larger_than_those_inside_it_is_refused_too() -> None:
    c = Cluster(topology("10.0.0.0/8", 30), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1", annotations={"romana.io/address": "10.9.0.9"})
    c.decide()
    c.node("n2")
    c.send(ev.BlockAssigned(network="net", block="10.0.0.0/12", node="n2", since=c.state.now))
    assert [why for *_, why in refusals(c.state)] == ["refused: node n1 has 10.9.0.9/32, which overlaps it"]


def test_a_group_that_was_refused_is_shown_for_as_long_as_it_stands() -> None:
    """It cannot be released."""
    c = Cluster()
    c.node("n1")
    c.decide()
    (opened,) = c.newest(ev.GroupOpened)
    c.send(msgspec.structs.replace(opened, group="other"))
    c.decide()
    assert [why for *_, why in refusals(c.state)] == [
        f"refused: {opened.prefix} belongs to group {opened.group}"
    ]


def test_a_pod_may_have_its_own_address_again_in_a_block_around_the_one_it_had_it_in() -> None:
    c = Cluster(topology("10.0.0.0/28", 30), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    (had,) = c.newest(ev.AddressAssigned)
    around = ev.PodAddress(address="10.0.0.0", network="net", block="10.0.0.0/29")
    c.send(msgspec.structs.replace(had, addresses=(around,)))
    assert list(refusals(c.state)) == []
    c.send(msgspec.structs.replace(had, name="b", uid="b", addresses=(around,)))
    assert [why for *_, why in refusals(c.state)] == ["refused: 10.0.0.0 is another pod's"]


def test_address_in_an_unowned_block_is_released() -> None:
    c = Cluster(topology("10.0.0.0/28", 30), warm_blocks=0)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    now = c.state.now
    c.send(ev.BlockReleased(network="net", block="10.0.0.0/30", node="n1", at=now, until=now))
    c.pod("web/a", "n1", labels={"changed": "yes"}, segment="x")
    assert c.rebuilt().says()[0] == ("web/a on n1: released, its block 10.0.0.0/30 belongs to nobody")
