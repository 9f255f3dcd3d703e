"""Pods that lose their address by a change of the topology have to be named."""

from __future__ import annotations

import pytest

from romana_bus.errors import BadInput
from romana_bus.ipam.change.evictions import evictions
from romana_bus.ipam.change.merge import merge
from tests.ipam.change.planned import cluster, losing, zones


@pytest.mark.parametrize(("pods", "more"), [(5, ""), (6, " and 1 more"), (7, " and 2 more")])
def test_first_few_losing_pods_are_named(pods: int, more: str) -> None:
    c = cluster(zones("a", "b"), "b", pods=pods)
    with pytest.raises(BadInput) as caught:
        evictions(losing(c.state, zones("a", "x")), ())
    last = f"web/b4 (10.0.0.{128 + 4} on n-b){more}. `--evict"
    assert last in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ((), "not set: the address of 6 running pods would have no place in it: web/b0 (10.0.0.64 on n-b), "),
        (("web/b0",), "5 running pods"),
        (("web/b9",), "--evict web/b9: it does not lose its address by this"),
        (("web/a0",), "--evict web/a0: it does not lose its address by this"),
        (("db/*",), "--evict db/*: no running pod of namespace db loses its address by this"),
        (("we/*",), "--evict we/*: "),
        (("b0",), "--evict b0: write NAMESPACE/POD, NAMESPACE/*, or all"),
        (("web/",), "--evict web/: write"),
        (("web/b0/c",), "--evict web/b0/c: write"),
        (("all", "web/x"), "--evict web/x: it does not"),
    ],
)
def test_losing_pods_must_be_named(asked: tuple[str, ...], reason: str) -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c", pods=6)
    lost = losing(c.state, merge(c.state.topology, zones("a", "c")))
    with pytest.raises(BadInput) as caught:
        evictions(lost, asked)
    assert reason in str(caught.value)
    if not asked:
        assert "web/b4 (10.0.0.68 on n-b) and 1 more" in str(caught.value)


@pytest.mark.parametrize("asked", [("all",), ("web/*",), tuple(f"web/b{at}" for at in (2, 0, 1))])
def test_exactly_the_losing_pods_are_evicted(asked: tuple[str, ...]) -> None:
    c = cluster(zones("a", "b", "c"), "a", "b", "c", pods=3)
    lost = losing(c.state, merge(c.state.topology, zones("a", "c")))
    assert [(one.name, one.node, one.addresses) for one in evictions(lost, asked)] == [
        ("b0", "n-b", ("10.0.0.64",)),
        ("b1", "n-b", ("10.0.0.65",)),
        ("b2", "n-b", ("10.0.0.66",)),
    ]
    assert evictions((), ("all",)) == ()
