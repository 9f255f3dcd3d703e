"""Random clusters, lived through step by step: what always holds, and that a process which boots from the
table at any moment decides nothing more then, and from then on what the one that saw it all decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from romana_bus import events as ev
from romana_bus.inet import Prefix, parse_address
from romana_bus.ipam import parse, wake
from romana_bus.ipam.model.annotations import ADDRESS, NETWORK, STICKY
from romana_bus.ipam.model.index import Index
from romana_bus.ipam.report import views
from tests.ipam import invariants
from tests.ipam.cluster import Cluster
from tests.ipam.documents import NODES, RACKS, TENANTS, documents, usable

if TYPE_CHECKING:
    import random

ZONE = "topology.kubernetes.io/zone"
node_names = st.sampled_from(NODES)
pods = st.builds("{}/{}".format, st.sampled_from(TENANTS), st.sampled_from("abcdefghijkl"))
requests = st.sampled_from(
    [
        {ADDRESS: text}
        for text in ("10.0.0.1", "10.0.0.5", "10.0.0.70", "fd00::3", "10.0.0.9,fd00::9", "wrong")
    ]
    + [
        {STICKY: "10m"},
        {STICKY: "1d"},
        {STICKY: "10m", ADDRESS: "10.0.0.6"},
        {NETWORK: "net0"},
        {NETWORK: "net1,net0"},
    ]
)
uids = st.sampled_from(["", "", "again"])
segments = st.sampled_from(["", "", "front"])
reserves = st.sampled_from(["10.0.0.0/30", "10.0.0.4/32", "10.0.0.64/28", "10.0.0.97/32", "fd00::/125"])
some_ips = st.sampled_from(
    [(), (), (), ("10.0.0.1",), ("10.0.0.70",), ("fd00::9", "10.0.0.2"), ("nonsense",)]
)


def single(text: str) -> Prefix:
    width, value = parse_address(text)
    return Prefix(width, value, width)


def counted(cluster: Cluster) -> object:
    index = cluster.state.index
    assert isinstance(index, Index)
    return index.pinned.counts, {leaf: bases for leaf, bases in index.pinned.broken.items() if bases}


@st.composite
def labels(draw: st.DrawFn) -> dict[str, str]:
    found = {ZONE: draw(st.sampled_from("xyz"))} if draw(st.booleans()) else {}
    return found | ({"rack": draw(st.sampled_from(RACKS))} if draw(st.booleans()) else {})


class Life(RuleBasedStateMachine):
    """`clusters`: the one that lives through everything, and one that booted from its table."""

    @initialize(
        document=st.none() | documents().filter(usable),
        block_owner=st.sampled_from(["host", "tenant", "segment"]),
        cooldown=st.sampled_from([0, 30_000_000]),
        warm_blocks=st.integers(0, 2),
        order_memory=st.sampled_from([60_000_000, 3_600_000_000]),
    )
    def begin(self, document: dict[str, Any] | None, **options: Any) -> None:
        options |= {"default_network": "100.64.0.0/25", "default_block_mask": 30}
        self.clusters = [Cluster(document, **options)]
        for at, name in enumerate(NODES):
            self.all("node", name, {"rack": RACKS[at % 2]})

    def all(self, does: str, *args: Any, **more: Any) -> None:
        for cluster in self.clusters:
            getattr(cluster, does)(*args, **more)
        self.decided = False

    @rule(name=node_names, labels=labels(), uid=st.sampled_from(["", "other"]))
    def a_node_is_seen(self, name: str, labels: dict[str, str], uid: str) -> None:
        self.all("node", name, labels, uid)

    @precondition(lambda self: self.clusters[0].newest(ev.SandboxRequested))
    @rule(keys=st.lists(pods, min_size=1, max_size=6))
    def pods_go_before_their_sandboxes(self, keys: list[str]) -> None:
        for key in keys:
            self.all("no_pod", key)

    @rule(name=node_names)
    def a_node_goes(self, name: str) -> None:
        self.all("no_node", name)

    @rule(keys=st.lists(pods, min_size=4, max_size=12), node=node_names, segment=segments)
    def many_pods_run(self, keys: list[str], node: str, segment: str) -> None:
        for key in keys:
            self.all("pod", key, node, segment)

    @rule(keys=st.lists(pods, min_size=1, max_size=3), nodes=st.lists(node_names, min_size=3, max_size=3))
    def pods_run_here_and_there(self, keys: list[str], nodes: list[str]) -> None:
        for key, node in zip(keys, nodes, strict=False):
            self.all("pod", key, node)

    @rule(keys=st.lists(pods, min_size=1, max_size=2), node=node_names, ips=some_ips)
    def pods_run_with_addresses(self, keys: list[str], node: str, ips: tuple[str, ...]) -> None:
        for key in keys:
            self.all("pod", key, node, ips=ips)

    @rule(keys=st.lists(pods, min_size=1, max_size=3), node=node_names, request=requests)
    def pods_request_something(self, keys: list[str], node: str, request: dict[str, str]) -> None:
        for key in keys:
            self.all("pod", key, node, annotations=request)

    @rule(keys=st.lists(pods, min_size=1, max_size=3), nodes=st.lists(node_names, min_size=3, max_size=3))
    def sticky_pods_come_back_elsewhere(self, keys: list[str], nodes: list[str]) -> None:
        for key in keys:
            self.all("no_pod", key)
        self.decide()
        for key, node in zip(keys, nodes, strict=False):
            self.all("pod", key, node, uid="again", annotations={STICKY: "10m"})

    @rule(key=pods, node=node_names, uid=st.sampled_from(["again", "and again"]))
    def a_pod_is_replaced(self, key: str, node: str, uid: str) -> None:
        self.all("pod", key, node, uid=uid)

    @rule(key=pods, node=node_names, phase=st.sampled_from(["Succeeded", "Failed", "Running"]))
    def a_pod_ends(self, key: str, node: str, phase: str) -> None:
        self.all("pod", key, node, phase=phase, host_network=phase == "Running")

    @rule(keys=st.lists(pods, min_size=1, max_size=6))
    def pods_go(self, keys: list[str]) -> None:
        for key in keys:
            self.all("no_pod", key)

    @rule(key=pods)
    def a_pod_reports_its_addresses(self, key: str) -> None:
        """What the kubelet does, once the pod runs."""
        found = self.clusters[0].table.get(f"kube.pod.{key.replace('/', '.')}")
        if found and isinstance(found.event, ev.PodSeen):
            given = tuple(self.clusters[0].addresses().get(key, "").split())
            self.all("pod", key, found.event.node, ips=given, uid=found.event.uid)

    @rule(keys=st.lists(pods, min_size=1, max_size=4), node=node_names, uid=uids)
    def a_kubelet_asks_for_sandboxes(self, keys: list[str], node: str, uid: str) -> None:
        for key in keys:
            self.all("sandbox", key, node, uid)

    @rule(data=st.data())
    def a_kubelet_removes_one(self, data: st.DataObject) -> None:
        if running := self.clusters[0].newest(ev.SandboxRequested):
            box = data.draw(st.sampled_from(running))
            self.all("no_sandbox", f"{box.namespace}/{box.name}", box.node, box.uid)

    @rule(key=pods, node=node_names, uid=uids)
    def a_kubelet_removes_an_unrequested_sandbox(self, key: str, node: str, uid: str) -> None:
        self.all("no_sandbox", key, node, uid)

    @rule(keys=st.lists(pods, min_size=1, max_size=3), node=node_names, mirrored=st.booleans())
    def static_pods_run(self, keys: list[str], node: str, mirrored: bool) -> None:
        for key in keys:
            self.all("sandbox", key, node, f"static-{key}")
            if mirrored:
                self.all("pod", key, node, static=f"static-{key}")

    @rule(cidr=reserves, on=st.booleans())
    def a_range_is_reserved_or_not(self, cidr: str, on: bool) -> None:
        self.all("send", ev.RangeReserved(cidr=cidr) if on else ev.RangeUnreserved(cidr=cidr))

    @rule(
        block_owner=st.sampled_from(["host", "tenant", "segment"]),
        cooldown=st.sampled_from([0, 30_000_000, 3_600_000_000]),
        warm_blocks=st.integers(0, 3),
        default_network=st.sampled_from(["100.64.0.0/25", "100.64.0.0/24", "10.0.0.0/25"]),
    )
    def the_settings_change(self, **settings: Any) -> None:
        changed = ev.SettingsChanged(settings=ev.Settings(default_block_mask=30, **settings))
        self.all("send", changed)
        for cluster in self.clusters:
            cluster.settings = changed.settings

    @rule(document=documents().filter(usable))
    def the_topology_changes(self, document: dict[str, Any]) -> None:
        self.all("send", ev.TopologySet(document=document))

    @rule(document=documents().filter(usable), all=st.booleans())
    def the_topology_changes_and_some_pods_are_evicted(self, document: dict[str, Any], all: bool) -> None:
        """Whoever loses its place, or every other one of them."""
        topology, evict = parse(document), []
        for event in self.clusters[0].newest(ev.AddressAssigned)[:: 1 if all else 2]:
            addresses = tuple(
                one.address for one in event.addresses if topology.leaf_of(single(one.address)) is None
            )
            if addresses:
                evict.append(
                    ev.Eviction(
                        namespace=event.namespace, name=event.name, uid=event.uid, node=event.node,
                        addresses=addresses,
                    )
                )  # fmt: skip
        self.all("send", ev.TopologySet(document=document, evict=tuple(evict)))

    @rule(key=pods, absent=st.booleans())
    def an_audit_disowns_what_a_pod_has(self, key: str, absent: bool) -> None:
        for event in self.clusters[0].newest(ev.AddressAssigned):
            if f"{event.namespace}/{event.name}" == key:
                addresses = tuple(one.address for one in event.addresses)
                word = ev.AddressDisowned(
                    namespace=event.namespace, name=event.name, uid=event.uid, node=event.node,
                    addresses=addresses, reason="an audit", absent=absent,
                    covers=self.clusters[0].state.facts,
                )  # fmt: skip
                self.all("send", word)

    @rule(seconds=st.sampled_from([0, 1, 29, 30, 100, 700, 5_000]))
    def time_passes(self, seconds: int) -> None:
        self.decide()
        self.all("later", seconds)

    @rule()
    def the_next_cooldown_ends(self) -> None:
        self.decide()
        when = wake(self.clusters[0].state)
        if when is not None:
            assert when > self.clusters[0].state.now
            self.all("tick", when / 1_000_000)

    @rule()
    def decide(self) -> None:
        lives, *others = self.clusters
        decisions = lives.decide()
        for other in others:
            same = other.decide()
            assert [one.event for one in same] == [one.event for one in decisions]
            # Whoever booted does not know the cause if that was a tombstone which has left the table since.
            assert all(one.cause in ("", known.cause) for one, known in zip(same, decisions, strict=True))
        self.decided = True
        invariants.hold(lives, decisions)

    @precondition(lambda self: self.decided)
    @rule(order=st.randoms(use_true_random=False))
    def another_boots_from_the_table(self, order: random.Random) -> None:
        lives = self.clusters[0]
        other = lives.rebuilt(order)
        assert other.says() == []
        assert views.networks(other.state) == views.networks(lives.state)
        assert views.hosts(other.state) == views.hosts(lives.state)
        assert wake(other.state) == wake(lives.state)
        assert counted(other) == counted(lives)
        self.clusters[1:] = [other]

    @invariant()
    def waking_is_ahead(self) -> None:
        when = wake(self.clusters[0].state) if hasattr(self, "clusters") else None
        assert when is None or when > self.clusters[0].state.now


Life.TestCase.settings = settings(
    max_examples=100, stateful_step_count=40, suppress_health_check=list(HealthCheck)
)
TestLife = Life.TestCase
#: What it finds has to be made small before it can be told.
TestLife.pytestmark = pytest.mark.timeout(600)  # type: ignore[attr-defined]
