"""Addresses that an operator ends: by a topology that has no place for them, or after an audit."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.cluster import Cluster, topology
from tests.ipam.racks import RACKS, two_racks


def evict(key: str, node: str, *addresses: str) -> ev.Eviction:
    namespace, _, name = key.partition("/")
    return ev.Eviction(namespace=namespace, name=name, uid=f"uid-{key}", node=node, addresses=addresses)


def moved(c: Cluster) -> ev.TopologySet:
    """Rack b is where rack a was."""
    document = topology("10.0.0.0/25", 30, *reversed(RACKS))
    return ev.TopologySet(document=document, evict=(evict("web/a", "n1", "10.0.0.0"),))


def test_evicted_pods_get_another_address_and_others_keep_theirs() -> None:
    c = two_racks()
    c.send(moved(c))
    assert c.causes() == [
        "SPEC/2: web/a on n1: released, the topology has no place for its address",
        "KUBE/3: n1 is in net a 10.0.0.64/26",
        "KUBE/4: n2 is in net b 10.0.0.0/26",
        "KUBE/5: 10.0.0.68/30 to n1",
        "KUBE/5: web/a on n1: 10.0.0.68",
    ]
    assert c.addresses() == {"web/a": "10.0.0.68", "web/b": "10.0.0.64"}


def test_evicted_address_is_not_reused_while_its_pod_uses_it() -> None:
    c = two_racks()
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.send(moved(c))
    c.decide()
    c.later(3600)
    for at in range(70):
        c.pod(f"db/{at}", "n2")
    c.decide()
    assert "10.0.0.0" not in c.addresses().values()
    assert len(c.denied()) > 0
    c.no_pod("web/a")
    c.decide()
    assert "10.0.0.0" not in c.addresses().values()
    c.later(30)
    c.decide()
    assert "10.0.0.0" in c.addresses().values()


def test_evicted_address_is_free_once_the_pod_reports_only_others() -> None:
    c = two_racks()
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.send(moved(c))
    c.decide()
    c.pod("web/a", "n1", ips=tuple(c.addresses()["web/a"].split()))
    c.decide()
    (event,) = (event for event in c.newest(ev.AddressAssigned) if event.name == "a")
    assert [cooling.until for cooling in event.cooling] == [c.state.now + 30_000_000]
    c.later(30)
    c.decide()
    assert c.rebuilt().decide() == []


def test_an_eviction_happens_once() -> None:
    """The pod that was evicted is not evicted again from where it went."""
    c = two_racks()
    c.send(moved(c))
    c.decide()
    there = c.addresses()["web/a"]
    c.node("n1", {"rack": "b"})
    c.decide()
    assert c.addresses()["web/a"] == there


def disowned(
    key: str, node: str, *addresses: str, absent: bool = False, covers: int = 1 << 40
) -> ev.AddressDisowned:
    namespace, _, name = key.partition("/")
    return ev.AddressDisowned(
        namespace=namespace, name=name, uid=f"uid-{key}", node=node, addresses=addresses,
        reason="nobody has it", absent=absent, covers=covers,
    )  # fmt: skip


def test_evicted_pod_that_is_gone_gets_no_other_address() -> None:
    c = two_racks()
    c.send(disowned("web/a", "n1", "10.0.0.0", absent=True))
    assert c.says() == ["web/a on n1: released, the API server has no such pod"]
    assert c.rebuilt().decide() == []
    c.later(30)
    assert c.says() == ["10.0.0.0/30 from n1"]


def test_newer_event_of_the_pod_overrides_the_eviction() -> None:
    c = two_racks()
    before = c.state.facts
    c.pod("web/a", "n1", phase="Pending")
    c.send(disowned("web/a", "n1", "10.9.9.9", absent=True, covers=before))
    assert c.says() == []
    c.send(disowned("web/a", "n1", "10.9.9.9", absent=True, covers=c.state.facts))
    assert c.says() == ["web/a on n1: released, the API server has no such pod"]
    c.pod("web/a", "n1")
    assert c.says()[-1] == "web/a on n1: 10.0.0.0", "the very pod that had it"


def test_eviction_of_a_released_address_is_no_error() -> None:
    c = two_racks()
    c.send(disowned("web/x", "n9", "10.0.0.0", absent=True))
    assert c.says() == []


def test_eviction_of_a_pod_does_not_affect_its_successor() -> None:
    """The audit looked; by the time that it orders, a new pod of the name has the address."""
    c = two_racks()
    words = ev.AddressDisowned(
        namespace="web", name="a", uid="uid-web/a", node="n1", addresses=("10.0.0.0",), reason="an audit"
    )
    c.no_pod("web/a")
    c.decide()
    c.later(30)
    c.pod("web/a", "n1", uid="2")
    c.decide()
    assert c.addresses()["web/a"] == "10.0.0.0"
    c.send(words)
    assert c.says() == []
    assert c.rebuilt().says() == []
