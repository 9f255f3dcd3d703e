"""What is gone leaves the state: however much has lived and died, it is as large as one that boots."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.ipam.model.annotations import ADDRESS, STICKY
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.ipam import State


def sizes(state: State) -> dict[str, int]:
    """How many entries everything has that the state holds, to any depth but that of single entities."""
    index: Any = state.index
    maps: dict[str, Any] = {**vars(state), **vars(state.overlaps), "order": state.topology._order}
    maps |= {f"dirty {name}": names for name, names in vars(index.dirty).items()}
    for name in ("released", "idle", "members", "short"):
        maps[f"space {name}"] = [entry for space in index.spaces for entry in getattr(space, name)]
    maps |= {f"pinned {name}": entries for name, entries in vars(index.pinned).items()}
    maps |= {f"waiting {name}": entries for name, entries in vars(index.waiting).items()}
    maps["reminders"] = [entry for due in state.due.values() for entry in due]
    maps["records"] = [key for host in state.hosts.values() for key in host.records]
    return {name: len(held) for name, held in maps.items() if hasattr(held, "__len__")}


def churn(cluster: Cluster, lives: int) -> Iterator[int]:
    """Pods of ever new names, on nodes and in namespaces that come and go too; some are sticky, some are
    disowned by an audit, some are denied."""
    requests = {0: {STICKY: "3d"}, 1: {ADDRESS: "10.0.3.200"}, 2: {ADDRESS: "10.0.3.200"}}
    requests |= {number: {} for number in range(3, 7)}
    for number in range(lives):
        node, tenant = f"n{number // 40}", f"t{number // 10}"
        if number % 40 == 0:
            cluster.node(node)
        key = f"{tenant}/p{number}"
        cluster.pod(key, node, annotations=requests[number % 7])
        cluster.decide()
        if number % 5 == 0 and (given := cluster.addresses().get(key)):
            cluster.send(
                ev.AddressDisowned(
                    namespace=tenant, name=f"p{number}", uid=f"uid-{key}", node=node, reason="an audit",
                    addresses=tuple(given.split()), absent=number % 2 == 0, covers=cluster.state.facts,
                )
            )  # fmt: skip
            cluster.decide()
        cluster.no_pod(key)
        if number % 40 == 39:
            cluster.no_node(node)
        cluster.decide()
        cluster.later(10)
        yield number


@pytest.mark.parametrize("documented", [False, True], ids=["default", "topology"])
def test_a_state_after_many_lives_is_as_large_as_one_that_boots(documented: bool) -> None:
    cluster = Cluster(topology("10.0.0.0/22", 30) if documented else None)
    cluster.node("stays")
    cluster.pod("web/stays", "stays")
    for _ in churn(cluster, 800):
        pass
    for _ in range(8):
        cluster.later(700)  # what cools down, and the order of releases
        cluster.decide()
    booted = cluster.rebuilt()
    booted.decide()
    assert booted.addresses()["web/stays"] == cluster.addresses()["web/stays"]
    live, fresh = sizes(cluster.state), sizes(booted.state)
    larger = {name: (live[name], fresh.get(name, 0)) for name in live if live[name] > fresh.get(name, 0)}
    assert larger == {}


def test_a_correction_counts_as_long_as_anything_of_its_pod_is_left() -> None:
    cluster = Cluster(topology())
    cluster.node("n1")
    cluster.pod("web/a", "n1")
    cluster.decide()
    given = cluster.addresses()["web/a"]
    cluster.send(
        ev.AddressDisowned(
            namespace="web", name="a", uid="uid-web/a", node="n1", addresses=(given,), reason="an audit"
        )
    )
    cluster.decide()
    cluster.later(5000)
    assert ("n1", "web/a") in cluster.state.disowned, "the pod still runs"
    cluster.no_pod("web/a")
    cluster.decide()
    cluster.later(700)
    cluster.later(700)
    assert not cluster.state.disowned


def test_the_order_of_releases_counts_for_a_state_that_boots() -> None:
    """The message about a block is needed as long as its order counts, or another block is opened."""
    cluster = Cluster(topology("10.0.0.0/28", 30), warm_blocks=0, cooldown=0, block_owner="segment")
    cluster.node("n1")
    for name in ("a", "b"):
        cluster.pod(f"web/{name}", "n1", segment=name)
    cluster.decide()
    assert cluster.addresses() == {"web/a": "10.0.0.0", "web/b": "10.0.0.4"}
    for name in ("b", "a"):
        cluster.no_pod(f"web/{name}")
        cluster.decide()
        cluster.later(1)
    cluster.later(700)
    other = cluster.rebuilt()
    for each in (cluster, other):
        each.pod("web/c", "n1")
    assert cluster.says() == other.says() == ["10.0.0.4/30 to n1 for web -", "web/c on n1: 10.0.0.4"]


def test_a_name_that_keeps_its_address_is_checked_once() -> None:
    cluster = Cluster(topology())
    cluster.node("n1")
    for turn in range(20):
        cluster.pod("web/a", "n1", uid=f"uid-{turn}", annotations={STICKY: "3d"})
        cluster.decide()
        cluster.no_pod("web/a")
        cluster.decide()
        cluster.later(100)
    cluster.later(700)
    assert [entry for due in cluster.state.due.values() for entry in due] == [("n1", "web/a")]


def test_an_address_that_a_pod_may_still_use_keeps_its_message() -> None:
    now = 5 * SECOND
    cooling = ev.CoolingAddress(address="10.0.0.1", block="10.0.0.0/30", until=ev.WHILE_IT_RUNS)
    event = ev.AddressReleased(namespace="web", name="a", uid="u", node="n", cooling=(cooling,))
    assert event.needed_until() > now + 365 * 86_400 * SECOND
