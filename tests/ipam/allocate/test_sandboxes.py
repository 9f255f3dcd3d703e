"""Sandboxes that kubelets ask for: pods that the API does not show yet, and pods that it no longer shows."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.ipam.model.annotations import ADDRESS, STICKY
from romana_bus.ipam.report import lookup, views
from tests.ipam.allocate.clusters import address_event, two_nodes
from tests.ipam.cluster import Cluster, topology

# --- a pod that the API does not show ---


def test_pod_unknown_to_the_api_gets_an_address_by_a_sandbox_request() -> None:
    c = two_nodes()
    c.sandbox("kube/static", "n1", uid="0123abc")
    assert c.causes() == [
        "NODE/1: 10.0.0.0/29 to n1",
        "NODE/1: kube/static on n1: 10.0.0.0",
    ]
    given = address_event(c, "kube/static")
    assert isinstance(given, ev.AddressAssigned)
    assert (given.uid, given.tenant, given.segment) == ("0123abc", "kube", "")


def test_address_is_released_when_the_sandbox_is_removed() -> None:
    c = two_nodes()
    c.sandbox("kube/static", "n1")
    c.decide()
    c.later(10_000)
    assert c.says() == []
    c.no_sandbox("kube/static", "n1")
    assert c.causes() == ["NODE/2: kube/static on n1: released, the pod is gone"]
    c.sandbox("kube/other", "n1")
    assert c.says() == ["kube/other on n1: 10.0.0.1"]
    c.later(60)
    c.decide()
    c.sandbox("kube/third", "n1")
    assert c.says() == ["kube/third on n1: 10.0.0.0"]


def test_pod_seen_later_keeps_its_address() -> None:
    c = two_nodes()
    c.sandbox("web/a", "n1")
    c.decide()
    c.pod("web/a", "n1")
    assert c.says() == []
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    assert c.says() == []


def test_segment_and_annotations_of_the_api_count_once_known() -> None:
    c = two_nodes(block_owner="segment")
    c.pod("web/a", "n1", "front", annotations={ADDRESS: "10.0.0.20"})
    c.pod("web/b", "", "front")  # the watcher has not seen yet where it was placed
    c.sandbox("web/a", "n1")
    c.sandbox("web/b", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.20", "web/b": "10.0.0.0"}
    assert [(e.name, e.segment) for e in c.newest(ev.AddressAssigned)] == [("a", "front"), ("b", "front")]
    c.pod("web/b", "n1", "back")
    c.decide()
    assert [e.segment for e in c.newest(ev.AddressAssigned)] == ["front", "back"]


def test_sandbox_on_the_host_network_gets_no_address() -> None:
    c = two_nodes()
    c.sandbox("web/a", "n1")
    c.decide()
    c.pod("web/a", "n1", host_network=True)
    assert c.says() == ["web/a on n1: released, the pod uses the host's network"]


@pytest.mark.parametrize("denied", [False, True], ids=["unknown", "denied"])
def test_sandbox_on_an_unplaced_node_is_denied_and_served_later(denied: bool) -> None:
    c = Cluster(topology("10.0.0.0/26", 29, {"name": "a", "assignment": {"rack": "a"}}), warm_blocks=0)
    if denied:
        c.node("n1")
    c.sandbox("web/a", "n1")
    c.decide()
    assert c.denied() == {"web/a": "host_denied" if denied else "host_unknown"}
    c.node("n1", {"rack": "a"})
    assert "web/a on n1: 10.0.0.0" in c.says()


def test_sandbox_in_a_full_group() -> None:
    c = Cluster(topology("10.0.0.0/30", 30), warm_blocks=0)
    c.node("n1")
    for name in "abcde":
        c.sandbox(f"web/{name}", "n1")
    c.decide()
    assert c.denied() == {"web/e": "exhausted"}
    c.no_sandbox("web/a", "n1")
    c.decide()
    c.later(31)
    assert c.says() == ["web/e on n1: 10.0.0.0"]
    c.no_sandbox("web/e", "n1")
    assert c.causes() == ["NODE/7: web/e on n1: released, the pod is gone"]


def test_sandbox_opens_the_group_of_its_zone() -> None:
    c = Cluster(warm_blocks=0)
    c.node("n1")
    c.node("n2", {"topology.kubernetes.io/zone": "z"})
    c.decide()
    c.sandbox("kube/static", "n1")
    assert c.says()[-1].startswith("kube/static on n1: 100.")


# --- a pod that the API no longer shows ---


def test_a_pod_that_was_deleted_by_force_keeps_its_address_while_it_runs() -> None:
    c = two_nodes()
    c.pod("web/a", "n1", "front", annotations={STICKY: "10m"})
    c.sandbox("web/a", "n1")
    c.decide()
    c.no_pod("web/a")
    assert c.says() == []
    c.no_sandbox("web/a", "n1")
    assert c.causes() == ["NODE/2: web/a on n1: released, the pod is gone"]
    gone = address_event(c, "web/a")
    assert isinstance(gone, ev.AddressReleased)
    assert gone.cooling[0].kept  # it was sticky to the end


def test_removed_first_the_api_leads_to_the_end() -> None:
    c = two_nodes()
    c.pod("web/a", "n1")
    c.sandbox("web/a", "n1")
    c.decide()
    c.no_sandbox("web/a", "n1")
    assert c.says() == []
    c.no_pod("web/a")
    assert c.causes() == ["KUBE/6: web/a on n1: released, the pod is gone"]


def test_a_finished_pod_keeps_its_address_until_its_sandbox_is_removed() -> None:
    c = two_nodes()
    c.pod("job/a", "n1")
    c.sandbox("job/a", "n1")
    c.pod("job/b", "n1")
    c.decide()
    c.pod("job/a", "n1", phase="Succeeded")
    c.pod("job/b", "n1", phase="Succeeded")
    assert c.says() == ["job/b on n1: released, the pod has finished"]
    c.no_sandbox("job/a", "n1")
    assert c.causes() == ["NODE/2: job/a on n1: released, the pod has finished"]


def test_a_sandbox_that_is_made_again_for_the_same_pod_changes_nothing() -> None:
    c = two_nodes()
    c.pod("web/a", "n1")
    c.decide()
    c.no_sandbox("web/a", "n1")
    assert c.says() == []
    c.sandbox("web/a", "n1")
    assert c.says() == []


def test_a_node_that_is_gone_leaves_its_sandboxes_what_they_have_until_they_are_taken_back() -> None:
    c = two_nodes()
    c.sandbox("web/a", "n1")
    c.decide()
    c.no_node("n1")
    c.sandbox("web/b", "n1")
    assert c.says() == ["web/b on n1: host_unknown"]
    assert c.rebuilt().says() == []
    c.no_sandbox("web/b", "n1")
    c.no_sandbox("web/a", "n1")
    assert c.causes() == [
        "NODE/4: web/a on n1: released, the pod is gone",
        "NODE/3: web/b on n1: released, the pod is gone",
        "KUBE/5: 10.0.0.0/29 from n1",
        "KUBE/5: n1 is removed",
    ]


# --- static pods ---


def test_a_static_pod_is_known_by_its_own_uid() -> None:
    c = two_nodes()
    c.pod("kube/proxy", "n1", uid="mirror-1", static="0123abc")
    c.decide()
    given = address_event(c, "kube/proxy")
    assert isinstance(given, ev.AddressAssigned)
    assert given.uid == "0123abc"
    c.pod("kube/proxy", "n1", uid="mirror-2", static="0123abc")  # somebody has deleted the mirror
    assert c.says() == []


def test_mirror_pod_may_appear_late_and_disappear() -> None:
    c = two_nodes()
    c.sandbox("kube/proxy", "n1", uid="0123abc")
    c.decide()
    c.pod("kube/proxy", "n1", uid="mirror-1", static="0123abc")
    assert c.says() == []
    c.no_pod("kube/proxy")
    assert c.says() == []
    c.no_sandbox("kube/proxy", "n1", uid="0123abc")
    assert c.says() == ["kube/proxy on n1: released, the pod is gone"]


def test_static_pod_on_the_host_network_gets_no_address() -> None:
    c = two_nodes()
    c.pod("kube/api", "n1", uid="mirror-1", static="0123abc", host_network=True)
    assert c.says() == []


# --- other ways in ---


def test_after_a_lost_store_it_asks_again_and_those_that_report_an_address_come_first() -> None:
    """What a pod runs with that only its kubelet knows of, nobody reports: it gets another one."""
    c = two_nodes(synced=False)
    c.sandbox("kube/static", "n1")
    c.sandbox("web/b", "n1")
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.pod("web/b", "n1", ips=("10.0.0.3",))
    assert c.says() == []
    c.sync()
    c.decide()
    assert c.addresses() == {"kube/static": "10.0.0.1", "web/a": "10.0.0.0", "web/b": "10.0.0.3"}


def test_address_released_by_an_operator_is_not_reused_while_the_sandbox_runs() -> None:
    c = two_nodes()
    c.sandbox("web/a", "n1", uid="u")
    c.decide()
    c.send(
        ev.AddressDisowned(
            namespace="web", name="a", uid="u", node="n1", addresses=("10.0.0.0",), reason="an audit"
        )
    )
    assert c.causes() == ["SPEC/2: web/a on n1: released, an audit", "NODE/1: web/a on n1: 10.0.0.1"]
    c.later(10_000)
    c.sandbox("web/b", "n1")
    assert c.says() == ["web/b on n1: 10.0.0.2"]
    c.no_sandbox("web/a", "n1", uid="u")
    c.decide()
    c.later(31)
    c.decide()
    assert lookup.address(c.state, "10.0.0.0").state == lookup.FREE


def test_sandbox_counts_as_a_pod_that_needs_an_address() -> None:
    c = two_nodes()
    c.sandbox("web/a", "n1")
    c.pod("web/b", "n1")
    c.decide()
    now = views.totals(c.state)
    assert (now.wanting, now.held) == (2, 2)


def test_cause_of_a_release_survives_a_boot_from_the_table() -> None:
    c = two_nodes()
    c.sandbox("kube/static", "n1")
    c.decide()
    c.no_sandbox("kube/static", "n1")
    assert c.rebuilt().causes() == ["NODE/2: kube/static on n1: released, the pod is gone"]
