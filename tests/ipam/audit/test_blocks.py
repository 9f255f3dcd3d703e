"""Blocks and counts of the log compared with its other events."""

from __future__ import annotations

from romana_bus import events as ev
from tests.ipam.audit.audited import block, cluster, twin


def test_a_block_in_no_group() -> None:
    c = cluster()
    c.send(block("10.9.0.0/30", "n1"))
    assert c.reported() == ["outside n1 10.9.0.0/30"]


def test_a_block_without_addresses_in_the_group_of_others() -> None:
    c = cluster()
    c.send(block("10.0.0.200/30", "n1"))
    assert c.reported() == ["outside n1 10.0.0.200/30"]


def test_nothing_is_outside_while_the_topology_cannot_be_read() -> None:
    c = cluster()
    c.send(ev.TopologySet(document={"networks": 4}))
    assert c.state.problem
    assert c.reported() == []


def test_blocks_that_overlap() -> None:
    """Also those that do not follow each other."""
    c = cluster()
    c.send(block("10.0.0.64/26", "n1"), block("10.0.0.64/30", "n1"), block("10.0.0.72/30", "n1"))
    overlaps = [one for one in c.reported() if one.startswith("overlap")]
    assert overlaps == ["overlap n1 10.0.0.64/30", "overlap n1 10.0.0.72/30"]


def test_an_address_outside_its_block_and_one_in_the_block_of_another_node() -> None:
    c = cluster()
    c.pod("web/e", "n1")
    c.pod("web/f", "n1")
    c.send(twin("e", "n1", "10.0.0.77", "10.0.0.0/30"), twin("f", "n1", "10.0.0.130", "10.0.0.128/30"))
    assert c.reported() == ["count web/e n1 10.0.0.0/30", "count web/f n1 10.0.0.128/30"]


def test_counts_that_do_not_agree() -> None:
    c = cluster()
    c.state.blocks["10.0.0.0/30"].release(1)
    assert c.reported() == ["count n1 10.0.0.0/30"]
