"""Sandboxes that kubelets requested, compared with the pods of the API server."""

from __future__ import annotations

import msgspec

from romana_bus.ipam.audit import findings
from romana_bus.ipam.audit.corrections import corrections, pending
from tests.ipam.audit.audited import GOOD, Reported, brief, cluster, covering, snapshot


def test_a_pod_that_only_its_kubelet_knows_holds_its_address() -> None:
    c = cluster()
    c.sandbox("kube/static", "n1", uid="0123abc")
    c.sandbox("web/a", "n1")
    c.decide()
    c.no_pod("web/a")
    c.decide()
    assert c.reported() == []
    end = c.seqs["IPAM"]
    wired = GOOD | {"10.0.0.2": "kube/static"}
    assert Reported(c, covering(end, wired)).reported == []
    assert Reported(c, covering(end, GOOD)).reported == [], "it may not have begun"
    c.no_sandbox("kube/static", "n1")
    assert c.reported() == ["nobody kube/static n1 10.0.0.2"]


def test_sandbox_requests_of_a_deleted_node_are_withdrawn() -> None:
    """Its kubelet will not do it."""
    c = cluster()
    c.sandbox("kube/static", "n1", uid="0123abc")
    c.sandbox("kube/other", "n2")
    c.decide()
    there = c.api()
    c.no_node("n1")
    c.decide()
    late = findings(c.state, snapshot(there, c.versions - 1))
    assert "sandbox" not in {one.kind for one in late}, "the list may be older"
    found = [one for one in c.found() if one.kind == "sandbox"]
    assert [brief(one) for one in found] == ["sandbox kube/static n1"]
    [removed] = corrections(found, c.state, 5)
    asked = c.table["node.n1.cni.kube.static"].event
    assert removed.subject() == asked.subject()
    assert not pending(removed, asked, None)
    assert pending(removed, msgspec.structs.replace(asked, uid="another"), None)
    assert pending(removed, removed, None)
    c.send(removed)
    assert c.says() == ["kube/static on n1: released, the pod is gone"]
    assert [one for one in c.found() if one.kind == "sandbox"] == []


def test_node_created_and_deleted_after_the_lists_is_no_finding() -> None:
    c = cluster()
    there, version = c.api(), c.versions
    c.node("n9", {"rack": "a"})
    c.sandbox("kube/static", "n9", uid="0123abc")
    c.decide()
    c.no_node("n9")
    c.decide()
    assert [one for one in findings(c.state, snapshot(there, version)) if one.kind == "sandbox"] == []


def test_a_pod_that_waits_for_its_predecessors_sandbox_is_no_finding() -> None:
    c = cluster()
    c.sandbox("web/a", "n1")
    c.decide()
    c.pod("web/a", "n1", uid="new")
    c.decide()
    assert c.reported() == []


def test_a_static_pod_is_known_by_its_own_uid_on_both_sides() -> None:
    c = cluster()
    c.pod("kube/static", "n1", uid="mirror", static="0123abc")
    c.decide()
    assert c.reported() == []
    assert Reported(c, covering(c.seqs["IPAM"], GOOD)).reported == ["kernel kube/static n1 10.0.0.2"]
