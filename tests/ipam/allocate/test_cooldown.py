"""An address that was given back cools down before it is given again."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.ipam import wake
from tests.ipam.allocate.clusters import one_node


def test_address_is_assigned_again_after_its_cooldown() -> None:
    c = one_node(pods=("web/a", "web/b"))
    c.no_pod("web/a")
    assert c.says() == ["web/a on n1: released, the pod is gone"]
    assert wake(c.state) == c.state.now + 30 * SECOND
    c.pod("web/c", "n1")
    assert c.says() == ["web/c on n1: 10.0.0.2"]
    c.later(30)
    assert wake(c.state) is None
    c.pod("web/d", "n1")
    assert c.says() == ["web/d on n1: 10.0.0.0"]


@pytest.mark.parametrize("first", [0, 1], ids=["the later end told first", "the earlier end told first"])
def test_later_cooldown_end_of_one_address_counts(first: int) -> None:
    """Two entities of the table may name it, and come in any order."""
    c = one_node(pods=())
    decisions = [
        ev.AddressReleased(
            namespace="web", name=name, uid=name, node="n1",
            cooling=(ev.CoolingAddress(address="10.0.0.0", block="10.0.0.0/30", until=until * SECOND),),
        )
        for name, until in (("late", 1_300), ("early", 1_100))
    ]  # fmt: skip
    c.send(decisions[first], decisions[1 - first])
    c.tick(1_200)
    c.pod("web/a", "n1")
    assert c.says()[0] == "web/a on n1: 10.0.0.1"
    c.tick(1_300)
    c.pod("web/b", "n1")
    assert c.says() == ["web/b on n1: 10.0.0.0"]


def test_it_wakes_for_a_cooldown_that_still_counts() -> None:
    """Not for one that ended early, since its pod came back: also where it has gone again."""
    c = one_node(pods=("web/a",), warm_blocks=0)
    c.no_pod("web/a")
    c.decide()
    assert wake(c.state) == 1_030 * SECOND
    c.later(10)
    c.pod("web/a", "n1")
    c.decide()
    assert c.addresses() == {"web/a": "10.0.0.0"}
    c.later(10)
    c.no_pod("web/a")
    c.decide()
    assert wake(c.state) == 1_050 * SECOND
    c.pod("web/a", "n1")
    c.decide()
    assert wake(c.state) is None


@pytest.mark.parametrize("released_again", [True, False])
def test_it_wakes_for_a_block_that_is_still_to_come_free(released_again: bool) -> None:
    c = one_node(warm_blocks=0)

    def release(until: int) -> ev.BlockReleased:
        return ev.BlockReleased(network="net", block="10.0.0.8/30", node="n1", at=c.state.now, until=until)

    first, second = c.state.now + 5 * SECOND, c.state.now + 9 * SECOND
    c.send(release(first), ev.BlockAssigned(network="net", block="10.0.0.8/30", node="n1", since=c.state.now))
    if released_again:
        c.send(release(second))
    assert wake(c.state) == (second if released_again else None)


def test_standby_learns_of_cooling_addresses() -> None:
    """A standby, of what its leader decides."""
    c = one_node(pods=("web/a",))
    cools = ev.CoolingAddress(address="10.0.0.1", block="10.0.0.0/30", until=c.state.now + 5 * SECOND)
    c.send(ev.AddressReleased(namespace="web", name="b", uid="b", node="n1", cooling=(cools,)))
    c.pod("web/c", "n1")
    assert c.says() == ["web/c on n1: 10.0.0.2"]


def test_address_is_free_at_once_without_a_cooldown() -> None:
    c = one_node(cooldown=0)
    c.pod("web/a", "n1", uid="2")
    assert c.says() == [
        "web/a on n1: released, a new pod of the same name took its place",
        "web/a on n1: 10.0.0.0",
    ]
    assert wake(c.state) is None
