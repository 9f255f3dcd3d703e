"""What an audit finds, what it makes of it, and that it is silent where all is well."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from romana_bus import events as ev
from romana_bus.ipam.audit import Finding, Snapshot, doubt, findings
from romana_bus.ipam.audit.corrections import corrections
from tests.ipam.cluster import Cluster, topology
from tests.ipam.racks import two_racks

if TYPE_CHECKING:
    from collections.abc import Iterable


def api(c: Cluster) -> Snapshot:
    """An API server that has just what the log has."""
    return Snapshot(c.newest(ev.NodeSeen), c.newest(ev.PodSeen), {"nodes": "100", "pods": "100"})


def texts(found: Iterable[Finding]) -> list[str]:
    return [f"{one.kind}: {one.text}" for one in found]


def test_no_findings_in_a_healthy_cluster() -> None:
    """Finished, on the host's network, cooling down, moved with their node, with what they wished for."""
    c = two_racks()
    c.pod("web/done", "n1", phase="Succeeded")
    c.pod("web/host", "n1", host_network=True)
    c.pod("web/unscheduled", "")
    c.pod("db/pg-0", "n2", annotations={"romana.io/sticky-address": "10m"})
    c.pod("web/short", "n1")
    c.decide()
    c.no_pod("web/short")
    c.node("n1", {"rack": "b"})
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.decide()
    assert texts(findings(c.state, api(c))) == []


@pytest.mark.parametrize("seed", range(20))
def test_no_findings_after_random_operations(seed: int) -> None:
    chance = random.Random(seed)
    c = two_racks(cooldown=5_000_000)
    for at in range(60):
        key = f"web/{chance.choice('abcdefgh')}"
        if chance.random() < 0.4:
            c.no_pod(key)
        else:
            c.pod(key, chance.choice(["n1", "n2"]), uid=f"u{at}", phase=chance.choice(["Running", "Failed"]))
        if chance.random() < 0.5:
            c.decide()
            c.later(chance.choice([0, 1, 6]))
    c.decide()
    assert [one for one in findings(c.state, api(c)) if one.kind != "without"] == []


def test_an_address_of_a_pod_that_is_gone() -> None:
    c = two_racks()
    there = api(c)
    del there.pods["web/a"]
    found = findings(c.state, there)
    assert texts(found) == [
        "nobody: 10.0.0.0 of web/a on n1: the API server has no such pod",
        "missed: pod web/a is on the log and not in the API server",
    ]
    assert corrections(found, c.state, 7) == [
        ev.AddressDisowned(
            namespace="web", name="a", uid="uid-web/a", node="n1", addresses=("10.0.0.0",), absent=True,
            reason=f"an audit found: {found[0].text}", covers=c.state.facts,
        ),
        ev.ListingAsked(resource="pods", reason=f"an audit found: {found[1].text}", at=7),
    ]  # fmt: skip
    c.send(*corrections(found, c.state, 7))
    assert c.says() == ["web/a on n1: released, the API server has no such pod"]


@pytest.mark.parametrize(("gone", "pods", "freed"), [(10, 40, 10), (11, 80, 11), (11, 40, 0)])
def test_where_many_pods_are_missing_at_once_only_a_listing_is_asked_for(
    gone: int, pods: int, freed: int
) -> None:
    c = Cluster(topology("10.0.0.0/24", 28))
    c.node("n1")
    for number in range(pods):
        c.pod(f"web/x{number}", "n1")
    c.decide()
    there = api(c)
    for number in range(gone):
        del there.pods[f"web/x{number}"]
    ordered = corrections(findings(c.state, there), c.state, 7)
    assert sum(isinstance(one, ev.AddressDisowned) for one in ordered) == freed
    assert sum(isinstance(one, ev.ListingAsked) for one in ordered) == 1


def test_an_address_of_a_pod_that_was_replaced() -> None:
    c = two_racks()
    there = api(c)
    there.pods["web/a"] = ev.PodSeen(
        resource_version="90", uid="new", namespace="web", name="a", node="n1", phase="Running"
    )
    found = findings(c.state, there)
    assert texts(found)[0] == "nobody: 10.0.0.0 of web/a on n1: a new pod of the same name took its place"
    c.send(*corrections(found, c.state, 7))
    assert c.says() == ["web/a on n1: released, the API server has no such pod"]
    c.send(
        ev.PodSeen(resource_version="90", uid="new", namespace="web", name="a", node="n1", phase="Running")
    )
    assert c.says() == ["web/a on n1: 10.0.0.1"]


def test_finished_pod_is_repaired_by_a_listing() -> None:
    c = two_racks()
    there = api(c)
    there.pods["web/a"] = ev.PodSeen(
        resource_version="90", uid="uid-web/a", namespace="web", name="a", node="n1", phase="Succeeded"
    )
    found = findings(c.state, there)
    assert [one.kind for one in found] == ["nobody", "missed"]
    assert [type(one) for one in corrections(found, c.state, 7)] == [ev.ListingAsked]


def test_a_pod_that_the_log_does_not_know() -> None:
    c = two_racks()
    there = api(c)
    there.pods["web/c"] = ev.PodSeen(
        resource_version="90", uid="c", namespace="web", name="c", node="n1", phase="Running"
    )
    assert texts(findings(c.state, there)) == [
        "without: web/c on n1: nothing was decided for it",
        "missed: pod web/c is in the API server and not on the log",
    ]


def test_a_pod_that_was_denied() -> None:
    c = two_racks()
    c.pod("web/c", "n1", annotations={"romana.io/network": "blue"})
    c.decide()
    found = findings(c.state, api(c))
    assert texts(found) == ["without: web/c on n1: there is no network blue"]
    assert corrections(found, c.state, 7) == []


def test_nodes_that_only_one_side_has() -> None:
    c = two_racks()
    there = api(c)
    del there.nodes["n2"]
    there.nodes["n3"] = ev.NodeSeen(resource_version="9", uid="n3", name="n3")
    assert texts(findings(c.state, there)) == [
        "missed: node n2 is on the log and not in the API server",
        "missed: node n3 is in the API server and not on the log",
    ]
    assert [one.subject() for one in corrections(findings(c.state, there), c.state, 7)] == [
        "spec.listing.nodes"
    ]


def twice(c: Cluster, of_a: tuple[str, ...], of_c: tuple[str, ...]) -> None:
    """web/a's address is web/c's too, by the log."""
    twin = ev.AddressAssigned(
        namespace="web", name="c", uid="uid-web/c", node="n1", tenant="web",
        addresses=(ev.PodAddress(address="10.0.0.0", network="net", block="10.0.0.0/30"),),
    )  # fmt: skip
    for name, reported in (("a", of_a), ("c", of_c)):
        c.pod(f"web/{name}", "n1", ips=reported)
    c.send(twin)


@pytest.mark.parametrize("ips", [(("10.0.0.0",), ()), ((), ()), (("10.0.0.0",), ("10.0.0.0",))])
def test_of_two_owners_by_the_log_the_first_stays_and_the_other_gets_another(
    ips: tuple[tuple[str, ...], tuple[str, ...]],
) -> None:
    c = two_racks()
    twice(c, *ips)
    found = findings(c.state, api(c))
    assert "owners: 10.0.0.0 was given to web/c on n1, though 10.0.0.0 is another pod's" in texts(found)
    assert corrections(found, c.state, 7) == []  # whoever decides takes it back
    assert c.says()[:2] == [
        "web/c on n1: released, refused: 10.0.0.0 is another pod's",
        "web/c on n1: 10.0.0.1",
    ]
    left = texts(findings(c.state, api(c)))
    assert left == (
        [
            "owners: 10.0.0.0 is reported by web/a and web/c; it was given to web/a",
            "differs: web/c on n1 was given 10.0.0.1 and reports 10.0.0.0",
        ]
        if ips[1]
        else []
    )


def test_two_pods_that_report_one_address() -> None:
    c = two_racks()
    c.pod("web/b", "n2", ips=("10.0.0.0",))
    c.pod("web/a", "n1", ips=("10.0.0.0",))
    c.decide()
    assert texts(findings(c.state, api(c))) == [
        "owners: 10.0.0.0 is reported by web/a and web/b; it was given to web/a",
        "differs: web/b on n2 was given 10.0.0.64 and reports 10.0.0.0",
    ]


def test_foreign_addresses_of_pods_are_ignored() -> None:
    """Beside another network, until our agents run."""
    c = two_racks()
    for key, node in (("web/a", "n1"), ("web/b", "n2")):
        c.pod(key, node, ips=("10.244.0.7",))
    c.decide()
    assert findings(c.state, api(c)) == []
    wired = ev.Wired(node="n1", consumer="cni", addresses={"10.0.0.0": "web/a"})
    assert texts(findings(c.state, api(c), [wired])) == [
        "differs: web/a on n1 was given 10.0.0.0 and reports 10.244.0.7"
    ]


def test_a_block_outside_every_group() -> None:
    c = two_racks()
    c.send(ev.TopologySet(document=topology("10.9.0.0/24")))
    c.decide()
    assert texts(findings(c.state, api(c))) == [
        "outside: 10.0.0.0/30 of n1 is in no group; 1 addresses are used",
        "outside: 10.0.0.64/30 of n2 is in no group; 1 addresses are used",
    ]


def test_blocks_that_overlap_and_addresses_where_they_do_not_belong() -> None:
    c = two_racks()
    c.send(
        ev.BlockAssigned(network="net", block="10.0.0.0/29", node="n2", since=5),
        ev.AddressAssigned(
            namespace="web", name="b", uid="uid-web/b", node="n2", tenant="web",
            addresses=(ev.PodAddress(address="10.0.0.9", network="net", block="10.0.0.0/30"),),
        ),
    )  # fmt: skip
    found = texts(findings(c.state, api(c)))
    assert "overlap: 10.0.0.0/29 was given to n2, though node n1 has 10.0.0.0/30, which overlaps it" in found
    assert "count: 10.0.0.9 of web/b on n2 is outside its block 10.0.0.0/30" in found


def test_kernel_address_that_is_not_assigned() -> None:
    c = two_racks()
    c.pod("web/c", "n1")
    c.decide()
    c.no_pod("web/c")
    c.decide()
    wired = ev.Wired(
        node="n1",
        consumer="cni",
        addresses={"10.0.0.1": "web/c", "10.0.0.3": "", "10.0.0.0": "web/z"},
    )
    assert texts(findings(c.state, api(c), [wired])) == [
        "kernel: 10.0.0.3 is wired on n1, and nobody there has it",
        "kernel: 10.0.0.0 is wired on n1 for web/z, and web/a has it",
    ]
    assert texts(findings(c.state, api(c), [ev.Wired(node="n2", consumer="cni")])) == [
        "kernel: 10.0.0.64 of web/b is not wired on n2"
    ]


def test_snapshot_of_another_cluster_is_not_trusted() -> None:
    c = two_racks()
    assert doubt(c.state, api(c)) == ""
    other = Snapshot([ev.NodeSeen(resource_version="1", uid="other", name="n1")], [], {})
    assert "another cluster" in doubt(c.state, other)
    for at in range(20):
        c.pod(f"web/{at}", "n1")
    there = Snapshot(c.newest(ev.NodeSeen), [], {})
    assert doubt(c.state, there) == "the API server shows 0 pods, and the log has 22: too few to be believed"


def test_two_checks_agree_on_the_same_finding() -> None:
    c = two_racks()
    there = api(c)
    del there.pods["web/a"]
    (first, *_) = findings(c.state, there)
    assert first.same == Finding(
        kind="nobody", node="n1", pod="web/a", uid="uid-web/a", address="10.0.0.0", absent=True
    )
