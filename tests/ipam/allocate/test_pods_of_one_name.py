"""Two pods of one name, of which one still has a sandbox."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.allocate.clusters import address_event, two_nodes


def test_the_pods_of_two_nodes_have_an_address_each() -> None:
    c = two_nodes()
    c.sandbox("web/a", "n1", uid="old")
    c.pod("web/a", "n2", uid="new")
    assert c.says() == [
        "10.0.0.0/29 to n1",
        "web/a on n1: 10.0.0.0",
        "10.0.0.8/29 to n2",
        "web/a on n2: 10.0.0.8",
    ]
    c.pod("web/a", "n2", uid="new", ips=("10.0.0.8",))
    c.pod("web/a", "n2", uid="new", labels={"romana.io/segment": "x"}, ips=("10.0.0.8",))
    assert c.says() == ["web/a on n2: 10.0.0.8"]
    c.no_sandbox("web/a", "n1")
    assert c.says() == ["web/a on n1: released, the pod is on node n2 now"]
    assert c.addresses() == {"web/a": "10.0.0.8"}


def test_on_one_node_the_new_one_waits_for_the_end_of_the_old_ones_sandbox() -> None:
    c = two_nodes()
    c.sandbox("web/a", "n1", uid="old")
    c.decide()
    c.pod("web/a", "n1", uid="new")
    assert c.says() == []
    c.no_sandbox("web/a", "n1", uid="old")
    c.decide()
    given = address_event(c, "web/a")
    assert isinstance(given, ev.AddressAssigned)
    assert (given.uid, given.addresses[0].address) == ("new", "10.0.0.1")
    assert [one.address for one in given.cooling] == ["10.0.0.0"]


def test_new_pod_waits_until_the_kubelet_requests_its_sandbox() -> None:
    c = two_nodes()
    c.sandbox("web/a", "n1", uid="old")
    c.decide()
    c.pod("web/a", "n1", uid="new")
    c.sandbox("web/a", "n1", uid="new")
    assert c.causes() == [
        "KUBE/5: web/a on n1: released, a new pod of the same name took its place",
        "KUBE/5: web/a on n1: 10.0.0.1",
    ]
    c.no_sandbox("web/a", "n1", uid="new")
    assert c.says() == []  # the API shows it still


def test_lagging_watcher_stops_no_pod_and_the_old_address_is_not_reused() -> None:
    c = two_nodes()
    c.pod("web/a", "n1", uid="old")
    c.decide()
    c.sandbox("web/a", "n1", uid="new")
    assert c.causes() == [
        "NODE/1: web/a on n1: released, a new pod of the same name took its place",
        "NODE/1: web/a on n1: 10.0.0.1",
    ]
    c.later(10_000)
    assert c.says() == []
    c.sandbox("web/b", "n1")
    assert c.says() == ["web/b on n1: 10.0.0.2"]
    given = address_event(c, "web/a")
    assert isinstance(given, ev.AddressAssigned)
    assert [(one.address, one.until, one.uid) for one in given.cooling] == [
        ("10.0.0.0", ev.WHILE_IT_RUNS, "old")
    ]
    c.no_pod("web/a")
    assert c.says() == ["web/a on n1: 10.0.0.1"]  # and its predecessor's cools for half a minute
    c.later(31)
    c.sandbox("web/c", "n1")
    assert c.says() == ["web/c on n1: 10.0.0.0"]


def test_address_of_a_pod_that_reports_others_is_not_held_back() -> None:
    c = two_nodes()
    c.pod("web/a", "n1", uid="old")
    c.decide()
    c.pod("web/a", "n1", uid="old", ips=("172.16.0.1",))
    c.sandbox("web/a", "n1", uid="new")
    c.decide()
    c.later(31)
    c.sandbox("web/b", "n1")
    assert c.says() == ["web/b on n1: 10.0.0.0"]
