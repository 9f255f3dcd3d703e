"""Rule 2 for addresses: every variant of a history ends in the same state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from romana_bus.ipam.report import views
from tests import histories
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from collections.abc import Callable

ZONE = "topology.kubernetes.io/zone"
RACKS = topology(
    "10.0.0.0/20", 28,
    {"name": "a", "assignment": {"rack": "a"}, "groups": []},
    {"name": "b", "assignment": {"rack": "b"}, "groups": []},
)  # fmt: skip
TWO_FAMILIES = {
    "networks": [
        {"name": "mine", "cidr": "10.0.0.0/24", "tenants": ["web"]},
        {"name": "four", "cidr": "10.1.0.0/20", "block_mask": 28},
        {"name": "six", "cidr": "fd00::/108", "block_mask": 124},
    ],
    "topologies": [{"networks": ["mine", "four", "six"], "map": [{"groups": []}]}],
}


class Facts:
    """Facts, with the resource versions that the API server gives them. `before`: what is so from the
    start in every variant; a topology set later leaves the addresses given before where they are."""

    def __init__(self) -> None:
        self.version = 0
        self.before: list[ev.Event] = [
            ev.ResourceSynced(resource=what, resource_version="1", count=0) for what in ("nodes", "pods")
        ]

    def next(self) -> str:
        self.version += 1
        return str(self.version)

    def node(self, name: str, **labels: str) -> ev.NodeSeen:
        labels = {"rack": labels["rack"]} if "rack" in labels else {ZONE: labels.get("zone", "a")}
        return ev.NodeSeen(
            resource_version=self.next(), uid=name, name=name, addresses=("192.0.2.1",), labels=labels
        )  # fmt: skip

    def no_node(self, name: str) -> ev.NodeGone:
        return ev.NodeGone(resource_version=self.next(), uid=name, name=name)

    def pod(self, key: str, node: str, **more: Any) -> ev.PodSeen:
        namespace, _, name = key.partition("/")
        more = {"uid": key, "phase": "Running", **more}
        return ev.PodSeen(
            resource_version=self.next(), namespace=namespace, name=name, node=node, **more
        )  # fmt: skip

    def no_pod(self, key: str) -> ev.PodGone:
        namespace, _, name = key.partition("/")
        return ev.PodGone(resource_version=self.next(), uid=key, namespace=namespace, name=name)

    def box(self, key: str, node: str, uid: str = "") -> ev.SandboxRequested:
        namespace, _, name = key.partition("/")
        return ev.SandboxRequested(
            node=node, namespace=namespace, name=name, uid=uid or key, sandbox="box"
        )  # fmt: skip

    def no_box(self, key: str, node: str) -> ev.SandboxRemoved:
        namespace, _, name = key.partition("/")
        return ev.SandboxRemoved(node=node, namespace=namespace, name=name, uid=key, sandbox="box")


def a_cluster_starts(s: Facts) -> histories.History:
    synced, s.before = s.before, []
    return [
        [s.node("n1", zone="a"), s.node("n2", zone="b"), s.node("n3")],
        synced,
        [s.pod(f"web/{at}", f"n{at % 3 + 1}") for at in range(9)],
        [s.pod("web/late", "n2"), s.pod("web/host", "n1", host_network=True)],
    ]


def pods_come_and_go(s: Facts) -> histories.History:
    return [
        [s.node("n1"), s.pod("web/a", "n1"), s.pod("web/b", "n1"), s.pod("db/a", "n1")],
        [s.no_pod("web/a"), s.pod("web/b", "n1", phase="Succeeded")],
        [s.pod("web/a", "n1", uid="again"), s.pod("job/x", "n1", phase="Failed"), s.pod("web/new", "")],
        [s.pod("db/a", "n1", labels={"romana.io/segment": "back"}), s.no_pod("job/x")],
    ]


def nodes_come_and_go(s: Facts) -> histories.History:
    return [
        [s.node("n1", zone="a"), s.node("n2", zone="b"), s.pod("web/a", "n1")],
        [s.pod("web/b", "n2"), s.no_node("n2"), s.pod("web/lost", "n9")],
        [s.node("n3", zone="c"), s.pod("web/b", "n3", uid="moved"), s.no_node("n1")],
        [s.node("n4", zone="a"), s.pod("web/c", "n4")],
        [s.no_pod("web/a")],
    ]


def racks_and_a_reserved_range(s: Facts) -> histories.History:
    s.before.append(ev.TopologySet(document=RACKS))
    return [
        [s.node("n1", rack="a"), s.node("n2", rack="b")],
        [s.node("n3", rack="c"), s.pod("web/a", "n1"), s.pod("web/b", "n2"), s.pod("web/c", "n3")],
        [ev.RangeReserved(cidr="10.0.0.0/28"), s.node("n4", rack="a"), s.pod("web/d", "n4")],
        [ev.RangeUnreserved(cidr="10.0.0.0/28"), s.node("n3", rack="b")],
    ]


def two_families_and_a_tenant(s: Facts) -> histories.History:
    s.before.append(ev.TopologySet(document=TWO_FAMILIES))
    return [
        [s.node("n1"), s.node("n2")],
        [s.pod("web/a", "n1"), s.pod("db/a", "n1"), s.pod("db/b", "n2")],
        [s.no_pod("db/a"), s.pod("web/b", "n2"), s.no_node("n2")],
        [s.no_pod("db/b"), s.no_pod("web/b")],
    ]


def sandboxes_before_and_after_their_pods(s: Facts) -> histories.History:
    """Static pods with and without a mirror, one of each after the API has forgotten it, and one whose
    node goes."""
    return [
        [s.node("n1"), s.node("n2"), s.box("kube/static", "n1"), s.box("web/a", "n1")],
        [s.pod("web/a", "n1"), s.pod("kube/mirrored", "n1", uid="m", static="kube/mirrored")],
        [s.box("kube/mirrored", "n1"), s.no_pod("web/a"), s.box("web/b", "n2"), s.box("kube/lost", "n9")],
        [s.pod("web/b", "n1"), s.pod("web/c", "n1"), s.box("web/c", "n1"), s.pod("web/d", "n2", uid="new")],
        [s.pod("web/c", "n1", phase="Succeeded"), s.no_pod("kube/mirrored"), s.box("web/d", "n2", "old")],
        [s.no_box("web/a", "n1"), s.no_node("n2"), s.no_box("web/never", "n1"), s.no_box("web/e", "n1")],
        [s.pod("web/e", "n1"), s.no_pod("web/d"), s.no_box("web/b", "n2"), s.no_box("web/d", "n2")],
    ]


HISTORIES = [
    a_cluster_starts,
    pods_come_and_go,
    nodes_come_and_go,
    racks_and_a_reserved_range,
    two_families_and_a_tenant,
    sandboxes_before_and_after_their_pods,
]
SETTINGS: list[dict[str, Any]] = [{}, {"cooldown": 0, "warm_blocks": 0}, {"block_owner": "segment"}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("make_history", HISTORIES)
def test_final_state_does_not_depend_on_the_variant(
    make_history: Callable[[Facts], histories.History], settings: dict[str, Any]
) -> None:
    facts = Facts()
    history = make_history(facts)

    def run(variant: histories.History) -> Cluster:
        cluster = Cluster(synced=False, **settings)
        cluster.send(*facts.before)
        for step in variant:
            cluster.send(*step)
            cluster.decide()
        cluster.later(60)
        cluster.decide()
        return cluster

    histories.check(history, run, end, bodies)


def bodies(cluster: Cluster) -> dict[str, ev.Event]:
    return {subject: stored.event for subject, stored in cluster.table.items() if stored.role == ev.IPAM}


def end(cluster: Cluster) -> object:
    """Once all that was given back has cooled, these are functions of the facts, as long as no group is
    full, and the pods of nodes that are gone are gone too (until then they keep what they have): who is
    placed in which networks, and who is not and why; who has how many addresses of which networks, and who
    has none and why; how many blocks each host holds in spare in each network; and that nothing else is
    held. Which of several groups a host is in, and which block and address a pod has, is not: that was
    decided when it was needed, and stays."""
    hosts = views.hosts(cluster.state)
    return {
        "placed": {host.node: sorted(host.groups) for host in hosts},
        "denied": {host.node: host.denied for host in hosts if host.denied},
        "given": {
            f"{event.namespace}/{event.name}": (event.node, event.uid, event.segment, places(event))
            for event in cluster.newest(ev.AddressAssigned)
        },
        "refused": {
            f"{event.namespace}/{event.name}": (event.node, event.uid, event.code, event.reason)
            for event in cluster.newest(ev.AddressDenied)
        },
        "spare": sorted((b.node, b.network) for b in views.blocks(cluster.state) if not b.usage.used),
        "cooling": [b.block for b in views.blocks(cluster.state) if b.usage.cooling],
    }


def places(event: ev.AddressAssigned) -> list[str]:
    return [address.network for address in event.addresses]


def test_every_history_has_twenty_four_variants() -> None:
    names = [name for _, name, _ in histories.variants(a_cluster_starts(Facts()))]
    assert len(set(names)) == 24


def test_every_variant_leaves_the_same_newest_message_of_each_entity() -> None:
    history = pods_come_and_go(Facts())
    newest = {event.subject(): event for step in history for event in step}
    for _, name, variant in histories.variants(history):
        assert {event.subject(): event for step in variant for event in step} == newest, name
