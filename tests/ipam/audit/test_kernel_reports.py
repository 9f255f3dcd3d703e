"""Addresses of the log compared with what agents report of their kernels."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.audit.audited import GOOD, Reported, cluster, covering, report


def test_kernel_matches_the_log() -> None:
    c = cluster()
    assert c.reported(None, report("n1", GOOD)) == []
    assert c.reported(None, report("n1", {"10.0.0.0": "", "10.0.0.1": ""})) == [], (
        "it need not know whose they are"
    )


def test_kernel_has_extra_missing_or_wrong_addresses() -> None:
    c = cluster()
    more = report("n1", GOOD | {"10.0.0.2": "web/x"})
    assert c.reported(None, more) == ["kernel web/x n1 10.0.0.2"]
    assert c.reported(None, report("n1", {"10.0.0.0": "web/a"})) == ["kernel web/b n1 10.0.0.1"]
    other = report("n1", GOOD | {"10.0.0.1": "web/x"})
    assert c.reported(None, other) == ["kernel web/x n1 10.0.0.1"]


def test_a_pod_that_does_not_run_yet_need_not_be_wired() -> None:
    c = cluster()
    c.pod("web/e", "n1", phase="Pending")
    c.decide()
    assert c.reported(None, report("n1", GOOD)) == []


def test_an_address_that_cools_down_may_still_be_wired() -> None:
    c = cluster(cooldown=30_000_000)
    c.no_pod("web/b")
    c.decide()
    assert c.reported(None, report("n1", GOOD)) == []
    c.later(30)
    c.decide()
    assert c.reported(None, report("n1", GOOD)) == ["kernel web/b n1 10.0.0.1"]


def test_last_report_of_a_deleted_node_is_ignored() -> None:
    """It stays in the table for ever."""
    c = cluster()
    c.no_pod("web/a")
    c.no_pod("web/b")
    c.no_node("n1")
    c.decide()
    c.later(60)
    c.decide()
    assert c.reported(None, report("n1", GOOD)) == []


def test_unread_decision_is_no_finding() -> None:
    """A young pod, one that has just gone, and one whose address went to another."""
    c = cluster(cooldown=0)
    there = c.seqs["IPAM"]
    c.pod("web/e", "n1")
    c.decide()
    assert Reported(c, covering(there, GOOD)).reported == []
    assert Reported(c, covering(c.seqs["IPAM"], GOOD)).reported == ["kernel web/e n1 10.0.0.2"]
    c.no_pod("web/b")
    c.decide()
    had = GOOD | {"10.0.0.2": "web/e"}
    assert Reported(c, covering(there, had)).reported == []
    assert Reported(c, covering(there, GOOD | {"10.0.0.2": ""})).reported == []
    assert Reported(c, covering(c.seqs["IPAM"], had)).reported == ["kernel web/b n1 10.0.0.1"]
    c.pod("web/f", "n1")
    c.decide()
    assert c.addresses()["web/f"] == "10.0.0.1"
    assert Reported(c, covering(there, had)).reported == []
    assert Reported(c, covering(c.seqs["IPAM"], had)).reported == ["kernel web/b n1 10.0.0.1"], (
        "which is web/f's"
    )


def test_unowned_address_is_no_finding_while_the_agent_lags() -> None:
    """Of its own node: what is young on another says nothing about it."""
    c = cluster(cooldown=0)
    there = c.seqs["IPAM"]
    c.no_pod("web/b")
    c.decide()
    nobodys = {"10.0.0.0": "", "10.0.0.1": ""}
    assert Reported(c, covering(there, nobodys)).reported == []
    assert Reported(c, covering(c.seqs["IPAM"], nobodys)).reported == ["kernel n1 10.0.0.1"]
    c.pod("web/young", "n2")
    c.decide()
    others = ev.Wired(node="n2", consumer="cni", covers={"IPAM": there}, addresses={})
    found = Reported(c, covering(c.seqs["IPAM"], nobodys), others).reported
    assert [one for one in found if " n1 " in one] == ["kernel n1 10.0.0.1"]


def test_an_older_part_of_a_report_counts_all_the_same() -> None:
    c = cluster()
    there = c.seqs["IPAM"]
    c.pod("web/e", "n1")
    c.decide()
    wired = {"10.0.0.0": "web/a", "10.0.0.3": "web/x"}
    assert Reported(c, covering(there, wired)).reported == [
        "kernel web/b n1 10.0.0.1",
        "kernel web/x n1 10.0.0.3",
    ]


def test_a_report_that_does_not_say_what_it_covers_covers_nothing() -> None:
    c = cluster()
    assert Reported(c, report("n1", {})).reported == []
    assert Reported(c, report("n1", {"10.0.0.3": "web/x"})).reported == ["kernel web/x n1 10.0.0.3"]


def test_the_reports_of_one_node_are_taken_together() -> None:
    c = cluster()
    end = c.seqs["IPAM"]
    a, b = {"10.0.0.0": "web/a"}, {"10.0.0.1": "web/b"}
    assert Reported(c, covering(end, a), covering(end, b, "other")).reported == []
    assert Reported(c, covering(end, a), covering(end, {}, "other")).reported == ["kernel web/b n1 10.0.0.1"]
    assert Reported(c, covering(end, a), covering(0, {}, "other")).reported == []
