"""The log held against snapshots: what is found, what is not, and what it comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from romana_bus import events as ev
from romana_bus.events import codec
from romana_bus.ipam.audit import KINDS, Finding, Snapshot, covers, doubt, findings, unsettled
from romana_bus.ipam.audit.corrections import corrections, pending
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from collections.abc import Mapping

RACKS = [{"name": name, "assignment": {"rack": name}} for name in "ab"]


class Audited(Cluster):
    """A cluster whose API server can be looked at apart from its log."""

    def __init__(self, *racks: dict[str, Any], **settings: Any) -> None:
        super().__init__(topology("10.0.0.0/24", 30, *(racks or RACKS)), **settings)

    def api(self) -> dict[str, ev.Fact]:
        """What it has if the log misses nothing, by subject."""
        seen = (stored.event for stored in self.table.values())
        return {one.subject(): one for one in seen if isinstance(one, ev.NodeSeen | ev.PodSeen)}

    def found(self, api: Mapping[str, ev.Fact] | None = None, *wired: ev.Wired) -> list[Finding]:
        return findings(self.state, snapshot(self.api() if api is None else api, self.versions), wired)

    def told(self, api: Mapping[str, ev.Fact] | None = None, *wired: ev.Wired) -> list[str]:
        return [brief(one) for one in self.found(api, *wired)]


def snapshot(api: Mapping[str, ev.Fact], version: int) -> Snapshot:
    nodes = [one for one in api.values() if isinstance(one, ev.NodeSeen)]
    pods = [one for one in api.values() if isinstance(one, ev.PodSeen)]
    return Snapshot(nodes, pods, {"nodes": str(version), "pods": str(version)})


def brief(one: Finding) -> str:
    return " ".join(filter(None, [one.kind, one.pod, one.node, one.address or one.block]))


def cluster(**settings: Any) -> Audited:
    """Two nodes with two pods each: 10.0.0.0 and .1 on n1, 10.0.0.128 and .129 on n2."""
    c = Audited(**settings)
    c.node("n1", {"rack": "a"})
    c.node("n2", {"rack": "b"})
    for name, node in (("a", "n1"), ("b", "n1"), ("c", "n2"), ("d", "n2")):
        c.pod(f"web/{name}", node)
    c.decide()
    assert c.addresses() == {
        "web/a": "10.0.0.0", "web/b": "10.0.0.1", "web/c": "10.0.0.128", "web/d": "10.0.0.129"
    }  # fmt: skip
    return c


def pod_of(api: dict[str, ev.Fact], name: str) -> ev.PodSeen:
    pod = api[f"kube.pod.web.{name}"]
    assert isinstance(pod, ev.PodSeen)
    return pod


def with_pod(c: Audited, name: str, **changes: Any) -> dict[str, ev.Fact]:
    api = c.api()
    return api | {f"kube.pod.web.{name}": msgspec.structs.replace(pod_of(api, name), **changes)}


def without(c: Audited, *subjects: str) -> dict[str, ev.Fact]:
    return {subject: one for subject, one in c.api().items() if subject not in subjects}


def twin(name: str, node: str, address: str, block: str, uid: str = "") -> ev.AddressAssigned:
    """An address that nobody decided."""
    return ev.AddressAssigned(
        namespace="web", name=name, uid=uid or f"uid-web/{name}", node=node, tenant="web",
        addresses=(ev.PodAddress(address=address, network="net", block=block),),
    )  # fmt: skip


def orders(c: Audited, found: list[Finding]) -> list[ev.AddressDisowned]:
    wanted = corrections(found, c.state, 5)
    assert [codec.decode(codec.encode(one)) for one in wanted] == wanted
    return [one for one in wanted if isinstance(one, ev.AddressDisowned)]


# --- silence -----------------------------------------------------------------------------------------------


def test_a_healthy_cluster_with_all_kinds_of_life() -> None:
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
    assert c.told() == []
    c.later(3600)
    c.decide()
    assert c.told() == []
    assert [brief(one) for one in findings(c.rebuilt().state, snapshot(c.api(), c.versions))] == []


# --- addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "absent"),
    [
        ({"uid": "another"}, True),
        ({"phase": "Succeeded"}, False),
        ({"host_network": True}, False),
    ],
)
def test_an_address_whose_pod_is_no_more_what_it_was(change: dict[str, Any], absent: bool) -> None:
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


def test_what_is_ordered_frees_it_and_nothing_else() -> None:
    c = cluster()
    api = without(c, "kube.pod.web.a")
    c.send(*orders(c, c.found(api)))
    assert c.says() == ["web/a on n1: released, the API server has no such pod"]
    assert c.told(api) == ["missed web/a"]


def test_a_pod_without_an_address() -> None:
    c = cluster()
    c.node("n9")
    c.pod("web/lost", "n9")
    c.decide()
    (found,) = c.found()
    assert brief(found) == "without web/lost n9"
    assert "needs the label rack=a" in found.text
    assert corrections([found], c.state, 0) == []


def test_a_pod_that_nothing_was_decided_for() -> None:
    c = cluster()
    c.pod("web/e", "n1")
    assert c.told() == ["without web/e n1"]


def test_a_pod_that_the_log_knows_nothing_of() -> None:
    c = cluster()
    pod = msgspec.structs.replace(pod_of(c.api(), "a"), name="e", uid="uid-web/e")
    found = c.found(c.api() | {pod.subject(): pod})
    assert [brief(one) for one in found] == ["without web/e n1", "missed web/e"]
    assert [type(one) for one in corrections(found, c.state, 1)] == [ev.ListingAsked]


def test_of_two_owners_by_the_log_the_later_one_is_refused_and_gets_another() -> None:
    c = cluster()
    c.pod("web/twin", "n1")
    c.send(twin("twin", "n1", "10.0.0.0", "10.0.0.0/30"))
    assert c.told() == ["without web/twin n1", "owners web/twin n1 10.0.0.0"]
    assert orders(c, c.found()) == []
    c.decide()
    assert c.told() == []
    assert c.addresses()["web/a"] == "10.0.0.0"
    assert c.addresses()["web/twin"] != "10.0.0.0"


def test_of_several_that_report_one_address_none_loses_what_it_was_given() -> None:
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
def test_who_loses_an_address_that_another_reports_is_ordered_so(absent: bool) -> None:
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
    assert c.told() == ["differs web/a n1 10.0.0.0"]


# --- the log against itself --------------------------------------------------------------------------------


def block(cidr: str, node: str) -> ev.BlockAssigned:
    return ev.BlockAssigned(network="net", block=cidr, node=node, since=1)


def test_a_block_in_no_group() -> None:
    c = cluster()
    c.send(block("10.9.0.0/30", "n1"))
    assert c.told() == ["outside n1 10.9.0.0/30"]


def test_a_block_without_addresses_in_the_group_of_others() -> None:
    c = cluster()
    c.send(block("10.0.0.200/30", "n1"))
    assert c.told() == ["outside n1 10.0.0.200/30"]


def test_nothing_is_outside_while_the_topology_cannot_be_read() -> None:
    c = cluster()
    c.send(ev.TopologySet(document={"networks": 4}))
    assert c.state.problem
    assert c.told() == []


def test_blocks_that_overlap() -> None:
    """Also those that do not follow each other."""
    c = cluster()
    c.send(block("10.0.0.64/26", "n1"), block("10.0.0.64/30", "n1"), block("10.0.0.72/30", "n1"))
    overlaps = [one for one in c.told() if one.startswith("overlap")]
    assert overlaps == ["overlap n1 10.0.0.64/30", "overlap n1 10.0.0.72/30"]


def test_an_address_outside_its_block_and_one_in_the_block_of_another_node() -> None:
    c = cluster()
    c.pod("web/e", "n1")
    c.pod("web/f", "n1")
    c.send(twin("e", "n1", "10.0.0.77", "10.0.0.0/30"), twin("f", "n1", "10.0.0.130", "10.0.0.128/30"))
    assert c.told() == ["count web/e n1 10.0.0.0/30", "count web/f n1 10.0.0.128/30"]


def test_counts_that_do_not_agree() -> None:
    c = cluster()
    c.state.blocks["10.0.0.0/30"].release(1)
    assert c.told() == ["count n1 10.0.0.0/30"]


# --- what was missed ---------------------------------------------------------------------------------------


def test_a_node_that_went_and_one_that_came() -> None:
    c = cluster()
    node = ev.NodeSeen(resource_version="99", uid="uid-n3", name="n3", addresses=("192.0.2.3",))
    assert c.told(without(c, "kube.node.-.n1") | {node.subject(): node}) == ["missed n1", "missed n3"]


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
    assert c.told(with_pod(c, "e", node="n1")) == ["without web/e n1", "missed web/e"]


def test_what_is_found_says_of_which_pod_and_what_the_api_server_has() -> None:
    """So that two looks can tell whether it is still the same."""
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


def test_what_happened_after_the_lists_were_made_is_not_wrong() -> None:
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


def test_where_versions_are_no_numbers_it_is_looked_at_all_the_same() -> None:
    c = cluster()
    shot = snapshot(without(c, "kube.pod.web.a"), 0)
    shot.versions["pods"] = "opaque"
    assert {one.kind for one in findings(c.state, shot)} == {"nobody", "missed"}


# --- kernels -----------------------------------------------------------------------------------------------


GOOD = {"10.0.0.0": "web/a", "10.0.0.1": "web/b"}


def report(node: str, addresses: dict[str, str]) -> ev.Wired:
    return ev.Wired(node=node, consumer="agent", addresses=addresses)


def test_a_kernel_that_has_what_the_log_says() -> None:
    c = cluster()
    assert c.told(None, report("n1", GOOD)) == []
    assert c.told(None, report("n1", {"10.0.0.0": "", "10.0.0.1": ""})) == [], (
        "it need not know whose they are"
    )


def test_a_kernel_that_has_too_much_too_little_or_for_another() -> None:
    c = cluster()
    more = report("n1", GOOD | {"10.0.0.2": "web/x"})
    assert c.told(None, more) == ["kernel web/x n1 10.0.0.2"]
    assert c.told(None, report("n1", {"10.0.0.0": "web/a"})) == ["kernel web/b n1 10.0.0.1"]
    other = report("n1", GOOD | {"10.0.0.1": "web/x"})
    assert c.told(None, other) == ["kernel web/x n1 10.0.0.1"]


def test_a_pod_that_does_not_run_yet_need_not_be_wired() -> None:
    c = cluster()
    c.pod("web/e", "n1", phase="Pending")
    c.decide()
    assert c.told(None, report("n1", GOOD)) == []


def test_an_address_that_cools_down_may_still_be_wired() -> None:
    c = cluster(cooldown=30_000_000)
    c.no_pod("web/b")
    c.decide()
    assert c.told(None, report("n1", GOOD)) == []
    c.later(30)
    c.decide()
    assert c.told(None, report("n1", GOOD)) == ["kernel web/b n1 10.0.0.1"]


def test_the_last_report_of_a_node_that_is_gone_says_nothing() -> None:
    """It stays in the table for ever."""
    c = cluster()
    c.no_pod("web/a")
    c.no_pod("web/b")
    c.no_node("n1")
    c.decide()
    c.later(60)
    c.decide()
    assert c.told(None, report("n1", GOOD)) == []


class Reported:
    """What an audit makes of reports: the log is folded in the knowledge of what they cover."""

    def __init__(self, c: Audited, *reports: ev.Wired) -> None:
        state = c.rebuilt(covers=covers(reports)).state
        found = findings(state, snapshot(c.api(), c.versions), reports)
        self.told = [brief(one) for one in found if one.kind == "kernel"]


def covering(seq: int, addresses: dict[str, str], consumer: str = "cni") -> ev.Wired:
    return ev.Wired(node="n1", consumer=consumer, covers={"IPAM": seq}, addresses=addresses)


def test_what_an_agent_has_not_read_yet_is_no_finding() -> None:
    """A young pod, one that has just gone, and one whose address went to another."""
    c = cluster(cooldown=0)
    there = c.seqs["IPAM"]
    c.pod("web/e", "n1")
    c.decide()
    assert Reported(c, covering(there, GOOD)).told == []
    assert Reported(c, covering(c.seqs["IPAM"], GOOD)).told == ["kernel web/e n1 10.0.0.2"]
    c.no_pod("web/b")
    c.decide()
    had = GOOD | {"10.0.0.2": "web/e"}
    assert Reported(c, covering(there, had)).told == []
    assert Reported(c, covering(there, GOOD | {"10.0.0.2": ""})).told == []
    assert Reported(c, covering(c.seqs["IPAM"], had)).told == ["kernel web/b n1 10.0.0.1"]
    c.pod("web/f", "n1")
    c.decide()
    assert c.addresses()["web/f"] == "10.0.0.1"
    assert Reported(c, covering(there, had)).told == []
    assert Reported(c, covering(c.seqs["IPAM"], had)).told == ["kernel web/b n1 10.0.0.1"], "which is web/f's"


def test_an_address_of_nobody_in_particular_is_no_finding_while_the_agent_may_have_to_read_of_it() -> None:
    """Of its own node: what is young on another says nothing about it."""
    c = cluster(cooldown=0)
    there = c.seqs["IPAM"]
    c.no_pod("web/b")
    c.decide()
    nobodys = {"10.0.0.0": "", "10.0.0.1": ""}
    assert Reported(c, covering(there, nobodys)).told == []
    assert Reported(c, covering(c.seqs["IPAM"], nobodys)).told == ["kernel n1 10.0.0.1"]
    c.pod("web/young", "n2")
    c.decide()
    others = ev.Wired(node="n2", consumer="cni", covers={"IPAM": there}, addresses={})
    found = Reported(c, covering(c.seqs["IPAM"], nobodys), others).told
    assert [one for one in found if " n1 " in one] == ["kernel n1 10.0.0.1"]


def test_an_older_part_of_a_report_counts_all_the_same() -> None:
    c = cluster()
    there = c.seqs["IPAM"]
    c.pod("web/e", "n1")
    c.decide()
    wired = {"10.0.0.0": "web/a", "10.0.0.3": "web/x"}
    assert Reported(c, covering(there, wired)).told == [
        "kernel web/b n1 10.0.0.1",
        "kernel web/x n1 10.0.0.3",
    ]


def test_a_report_that_does_not_say_what_it_covers_covers_nothing() -> None:
    c = cluster()
    assert Reported(c, report("n1", {})).told == []
    assert Reported(c, report("n1", {"10.0.0.3": "web/x"})).told == ["kernel web/x n1 10.0.0.3"]


def test_the_reports_of_one_node_are_taken_together() -> None:
    c = cluster()
    end = c.seqs["IPAM"]
    a, b = {"10.0.0.0": "web/a"}, {"10.0.0.1": "web/b"}
    assert Reported(c, covering(end, a), covering(end, b, "other")).told == []
    assert Reported(c, covering(end, a), covering(end, {}, "other")).told == ["kernel web/b n1 10.0.0.1"]
    assert Reported(c, covering(end, a), covering(0, {}, "other")).told == []


# --- sandboxes ----------------------------------------------------------------------------------------------


def test_a_pod_that_only_its_kubelet_knows_holds_its_address() -> None:
    c = cluster()
    c.sandbox("kube/static", "n1", uid="0123abc")
    c.sandbox("web/a", "n1")
    c.decide()
    c.no_pod("web/a")
    c.decide()
    assert c.told() == []
    end = c.seqs["IPAM"]
    wired = GOOD | {"10.0.0.2": "kube/static"}
    assert Reported(c, covering(end, wired)).told == []
    assert Reported(c, covering(end, GOOD)).told == [], "it may not have begun"
    c.no_sandbox("kube/static", "n1")
    assert c.told() == ["nobody kube/static n1 10.0.0.2"]


def test_what_is_requested_on_a_node_that_is_gone_is_taken_back() -> None:
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


def test_a_node_that_came_and_went_behind_the_lists_is_no_finding_with_its_sandboxes() -> None:
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
    assert c.told() == []


def test_a_static_pod_is_known_by_its_own_uid_on_both_sides() -> None:
    c = cluster()
    c.pod("kube/static", "n1", uid="mirror", static="0123abc")
    c.decide()
    assert c.told() == []
    assert Reported(c, covering(c.seqs["IPAM"], GOOD)).told == ["kernel kube/static n1 10.0.0.2"]


# --- when to believe none of it ----------------------------------------------------------------------------


def test_another_cluster() -> None:
    c = cluster()
    node = ev.NodeSeen(resource_version="1", uid="other", name="n1")
    assert "another cluster" in doubt(c.state, snapshot({"x": node}, 9))


def test_a_node_that_was_made_anew_is_no_other_cluster_while_its_pods_are_the_same() -> None:
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
    assert "4 pods where the log has 12" in doubt(c.state, snapshot(few, c.versions))


def test_a_log_that_is_being_listed() -> None:
    c = cluster()
    c.send(ev.ResourceListing(resource="pods", reason="first listing"))
    assert unsettled(c.state) == "pods are being listed"
    c.send(ev.ResourceSynced(resource="pods", resource_version="9", count=14, doubted=12))
    assert unsettled(c.state) == "the watcher asks again about 12 pods"
    c.sync()
    assert unsettled(c.state) == ""


# --- orders ------------------------------------------------------------------------------------------------


def test_nothing_is_ordered_twice_while_it_stands() -> None:
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


def test_every_kind_is_told_in_its_order_and_the_same_each_time() -> None:
    c = cluster()
    c.send(block("10.9.0.0/30", "n1"), block("10.0.0.64/26", "n1"), block("10.0.0.64/30", "n1"))
    c.send(twin("ghost", "n1", "10.0.0.77", "10.0.0.0/30"))
    c.pod("web/c", "n2", ips=("10.0.0.0",))
    c.pod("web/d", "n2", ips=("10.0.0.140",))
    c.pod("web/late", "n1")
    c.sandbox("web/x", "n9")
    found = c.found(None, report("n1", {"10.0.0.99": ""}))
    assert [KINDS.index(one.kind) for one in found] == sorted(KINDS.index(one.kind) for one in found)
    assert {one.kind for one in found} == set(KINDS) - {"missed"}
    again = Audited.rebuilt(c)
    assert [
        one.same for one in findings(again.state, snapshot(c.api(), 9), [report("n1", {"10.0.0.99": ""})])
    ] == [one.same for one in found]
    assert msgspec.json.encode(found)
