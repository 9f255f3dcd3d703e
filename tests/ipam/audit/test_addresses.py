"""Addresses of the log compared with the pods of the API server."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from romana_bus import events as ev
from romana_bus.ipam.audit.corrections import corrections
from tests.ipam.audit.audited import brief, cluster, orders, pod_of, twin, with_pod, without


@pytest.mark.parametrize(
    ("change", "absent"),
    [
        ({"uid": "another"}, True),
        ({"phase": "Succeeded"}, False),
        ({"host_network": True}, False),
    ],
)
def test_address_of_a_replaced_or_finished_pod(change: dict[str, Any], absent: bool) -> None:
    c = cluster()
    found = c.found(with_pod(c, "a", **change))
    assert [brief(one) for one in found] == ["nobody web/a n1 10.0.0.0", "missed web/a"]
    assert [one.absent for one in found] == [absent, False]


def test_an_address_whose_pod_is_gone() -> None:
    c = cluster()
    found = c.found(without(c, "kube.pod.web.a"))
    assert [brief(one) for one in found] == ["nobody web/a n1 10.0.0.0", "missed web/a"]
    disowned, asked = corrections(found, c.state, 5)
    assert isinstance(disowned, ev.AddressDisowned)
    assert isinstance(asked, ev.ListingAsked)
    assert (disowned.uid, disowned.addresses, disowned.absent) == ("uid-web/a", ("10.0.0.0",), True)
    assert disowned.covers == c.state.facts
    assert (asked.resource, asked.at) == ("pods", 5)


def test_repair_releases_only_the_leaked_address() -> None:
    c = cluster()
    api = without(c, "kube.pod.web.a")
    c.send(*orders(c, c.found(api)))
    assert c.says() == ["web/a on n1: released, the API server has no such pod"]
    assert c.reported(api) == ["missed web/a"]


def test_a_pod_without_an_address() -> None:
    c = cluster()
    c.node("n9")
    c.pod("web/lost", "n9")
    c.decide()
    (found,) = c.found()
    assert brief(found) == "without web/lost n9"
    assert "needs the label rack=a" in found.text
    assert corrections([found], c.state, 0) == []


def test_pod_without_a_decision() -> None:
    c = cluster()
    c.pod("web/e", "n1")
    assert c.reported() == ["without web/e n1"]


def test_pod_unknown_to_the_log() -> None:
    c = cluster()
    pod = msgspec.structs.replace(pod_of(c.api(), "a"), name="e", uid="uid-web/e")
    found = c.found(c.api() | {pod.subject(): pod})
    assert [brief(one) for one in found] == ["without web/e n1", "missed web/e"]
    assert [type(one) for one in corrections(found, c.state, 1)] == [ev.ListingAsked]


def test_of_two_owners_by_the_log_the_later_one_is_refused_and_gets_another() -> None:
    c = cluster()
    c.pod("web/twin", "n1")
    c.send(twin("twin", "n1", "10.0.0.0", "10.0.0.0/30"))
    assert c.reported() == ["without web/twin n1", "owners web/twin n1 10.0.0.0"]
    assert orders(c, c.found()) == []
    c.decide()
    assert c.reported() == []
    assert c.addresses()["web/a"] == "10.0.0.0"
    assert c.addresses()["web/twin"] != "10.0.0.0"


def test_pods_that_report_one_address_keep_their_assigned_ones() -> None:
    c = cluster()
    both = with_pod(c, "a", ips=("10.0.0.1",)) | {
        "kube.pod.web.b": msgspec.structs.replace(pod_of(c.api(), "b"), ips=("10.0.0.1",))
    }
    assert orders(c, c.found(both)) == []


def test_a_pod_that_reports_what_another_one_was_given_and_does_not_use() -> None:
    c = cluster()
    c.pod("web/c", "n2", ips=("10.0.0.0",))
    c.decide()
    found = c.found()
    assert "owners" in {one.kind for one in found}
    assert [(order.name, order.absent) for order in orders(c, found)] == [("a", False)]


def test_a_pod_that_reports_what_another_one_was_given_and_uses_too() -> None:
    c = cluster()
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.pod("web/c", "n2", ips=("10.0.0.0",))
    c.decide()
    assert orders(c, c.found()) == []


@pytest.mark.parametrize("absent", [True, False])
def test_loss_of_an_address_reported_by_another_pod_is_ordered(absent: bool) -> None:
    """Its pod is gone, or is there and reports another."""
    c = cluster()
    c.pod("web/x", "n2", ips=("10.0.0.0",), host_network=False)
    api = with_pod(c, "a", ips=("10.0.0.9",))
    if absent:
        del api["kube.pod.web.a"]
    found = [one for one in c.found(api) if one.kind == "owners"]
    assert [(one.pod, one.address) for one in found] == [("web/a", "10.0.0.0")]
    (order,) = orders(c, found)
    assert (order.addresses, order.absent) == (("10.0.0.0",), absent)


def test_a_pod_that_reports_another_address_than_it_was_given() -> None:
    c = cluster()
    c.pod("web/a", "n1", ips=("10.0.0.99",))
    c.decide()
    assert c.reported() == ["differs web/a n1 10.0.0.0"]
