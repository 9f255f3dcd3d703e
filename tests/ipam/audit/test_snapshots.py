"""The log compared with snapshots: what the log missed, and when a snapshot is not believed."""

from __future__ import annotations

import msgspec

from romana_bus import events as ev
from romana_bus.ipam.audit import KINDS, doubt, findings, unsettled
from romana_bus.ipam.audit.corrections import corrections, pending
from tests.ipam.audit.audited import Audited, block, brief, cluster, report, snapshot, twin, with_pod, without


def test_healthy_cluster_with_pods_of_all_kinds() -> None:
    c = cluster(cooldown=30_000_000)
    c.pod("web/job", "n1", phase="Succeeded")
    c.pod("web/daemon", "n1", host_network=True, ips=("192.168.0.1",))
    c.pod("web/new", "", phase="Pending")
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.no_pod("web/b")
    c.pod("web/e", "n2", annotations={"romana.io/sticky-address": "1h"})
    c.pod("web/f", "n2", annotations={"romana.io/address": "10.0.0.200"})
    c.decide()
    c.no_pod("web/e")
    c.decide()
    c.node("n2", {"rack": "a"})  # moves, while its pods run
    c.decide()
    c.pod("web/g", "n2")
    c.decide()
    c.node("n3", {"rack": "b"})
    c.decide()
    c.no_node("n3")
    c.decide()
    assert c.reported() == []
    c.later(3600)
    c.decide()
    assert c.reported() == []
    assert [brief(one) for one in findings(c.rebuilt().state, snapshot(c.api(), c.versions))] == []


# --- what was missed ---------------------------------------------------------------------------------------


def test_a_node_that_went_and_one_that_came() -> None:
    c = cluster()
    node = ev.NodeSeen(resource_version="99", uid="uid-n3", name="n3", addresses=("192.0.2.3",))
    assert c.reported(without(c, "kube.node.-.n1") | {node.subject(): node}) == ["missed n1", "missed n3"]


def test_a_node_with_other_labels_or_addresses() -> None:
    c = cluster()
    for change in ({"labels": {"rack": "b"}}, {"addresses": ("192.0.2.7",)}, {"uid": "another"}):
        node = c.api()["kube.node.-.n1"]
        changed = msgspec.structs.replace(node, **change)
        (found,) = c.found(c.api() | {"kube.node.-.n1": changed})
        assert brief(found) == "missed n1"
        assert [one.subject() for one in corrections([found], c.state, 1)] == ["spec.listing.nodes"]


def test_a_pod_that_was_scheduled_and_the_log_does_not_know() -> None:
    c = cluster()
    c.pod("web/e", "", phase="Pending")
    assert c.reported(with_pod(c, "e", node="n1")) == ["without web/e n1", "missed web/e"]


def test_finding_names_the_pod_and_what_the_api_server_has() -> None:
    """So that two checks can compare their findings."""
    c = cluster()
    c.pod("web/e", "n1")
    c.send(twin("e", "n1", "10.0.0.77", "10.0.0.0/30"))
    (count,) = c.found()
    assert (count.uid, count.block) == ("uid-web/e", "10.0.0.0/30")
    assert count.text == "10.0.0.77 of web/e on n1 is outside its block 10.0.0.0/30"
    c = cluster()
    looks = []
    for rack in "bc":
        node = msgspec.structs.replace(c.api()["kube.node.-.n1"], labels={"rack": rack})
        looks += c.found(c.api() | {"kube.node.-.n1": node})
    assert [one.text for one in looks] == ["node n1 changed, and the log does not know"] * 2
    assert looks[0].same != looks[1].same


# --- newer than the lists ----------------------------------------------------------------------------------


def test_changes_after_the_lists_are_no_finding() -> None:
    """The log is folded behind them: a pod that came, one that went, a node that came and one that went."""
    c = cluster()
    c.node("n8", {"rack": "a"})
    c.decide()
    before, version = c.api(), c.versions
    c.pod("web/new", "n1")
    c.no_pod("web/d")
    c.node("n3", {"rack": "a"})
    c.no_node("n8")
    c.decide()
    assert findings(c.state, snapshot(before, version)) == []


def test_non_numeric_versions_are_audited_too() -> None:
    c = cluster()
    shot = snapshot(without(c, "kube.pod.web.a"), 0)
    shot.versions["pods"] = "opaque"
    assert {one.kind for one in findings(c.state, shot)} == {"nobody", "missed"}


# --- when to believe none of it ----------------------------------------------------------------------------


def test_another_cluster() -> None:
    c = cluster()
    node = ev.NodeSeen(resource_version="1", uid="other", name="n1")
    assert "another cluster" in doubt(c.state, snapshot({"x": node}, 9))


def test_recreated_node_with_the_same_pods_is_the_same_cluster() -> None:
    c = cluster()
    nodes = {
        subject: msgspec.structs.replace(one, uid="anew")
        for subject, one in c.api().items()
        if isinstance(one, ev.NodeSeen)
    }
    assert doubt(c.state, snapshot(c.api() | nodes, c.versions)) == ""


def test_an_api_server_without_nodes_is_not_that_of_a_log_with_some() -> None:
    """However few: an empty cluster would free all."""
    c = cluster()
    assert doubt(c.state, snapshot({}, c.versions))


def test_an_api_server_that_has_lost_most_of_many_pods() -> None:
    c = cluster()
    for at in range(8):
        c.pod(f"web/x{at}", "n1")
    few = {subject: one for subject, one in c.api().items() if not subject.startswith("kube.pod.web.x")}
    assert "4 pods, and the log has 12" in doubt(c.state, snapshot(few, c.versions))


def test_a_log_that_is_being_listed() -> None:
    c = cluster()
    c.send(ev.ResourceListing(resource="pods", reason="first listing"))
    assert unsettled(c.state) == "pods are being listed"
    c.send(ev.ResourceSynced(resource="pods", resource_version="9", count=14, doubted=12))
    assert unsettled(c.state) == "the watcher asks again about 12 pods"
    c.sync()
    assert unsettled(c.state) == ""


# --- orders ------------------------------------------------------------------------------------------------


def test_repair_is_not_ordered_twice() -> None:
    c = cluster()
    disowned, asked = corrections(c.found(without(c, "kube.pod.web.a")), c.state, 5)
    assert isinstance(disowned, ev.AddressDisowned)
    assert isinstance(asked, ev.ListingAsked)
    assert pending(disowned, disowned, None)
    assert not pending(disowned, None, None)
    assert not pending(disowned, msgspec.structs.replace(disowned, uid="earlier"), None)
    assert not pending(disowned, msgspec.structs.replace(disowned, absent=False), None), "it gets another"
    later = msgspec.structs.replace(asked, at=asked.at + 3600_000_000)
    mark = ev.ResourceSynced(resource="pods", resource_version="1", count=0, asked=asked.at)
    assert pending(later, asked, ev.ResourceListing(resource="pods", reason="", asked=asked.at))
    assert not pending(later, asked, mark)


def test_findings_have_a_stable_order() -> None:
    c = cluster()
    c.send(block("10.9.0.0/30", "n1"), block("10.0.0.64/26", "n1"), block("10.0.0.64/30", "n1"))
    c.send(twin("ghost", "n1", "10.0.0.77", "10.0.0.0/30"))
    c.pod("web/c", "n2", ips=("10.0.0.0",))
    c.pod("web/d", "n2", ips=("10.0.0.140",))
    c.pod("web/late", "n1")
    c.sandbox("web/x", "n9")
    c.lives_on("n1", connected=("10.0.0.0/24",), gateways=("10.0.0.1",))
    found = c.found(None, report("n1", {"10.0.0.99": ""}))
    assert [KINDS.index(one.kind) for one in found] == sorted(KINDS.index(one.kind) for one in found)
    assert {one.kind for one in found} == set(KINDS) - {"missed"}
    again = Audited.rebuilt(c)
    assert [
        one.same for one in findings(again.state, snapshot(c.api(), 9), [report("n1", {"10.0.0.99": ""})])
    ] == [one.same for one in found]
    assert msgspec.json.encode(found)
