"""Who uses the limits of fixed and sticky addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.ipam.change.merge import merge
from romana_bus.ipam.report import views
from romana_bus.ipam.report.pinned import BrokenBlocks, pinned
from tests.ipam.allocate.annotations.annotated import cluster, racks, request
from tests.ipam.change.planned import changes

if TYPE_CHECKING:
    from tests.ipam.cluster import Cluster


def used() -> Cluster:
    """Three of web, of which one is kept for a pod that is gone; one of db."""
    c = cluster({"max_broken_blocks": "20%"})
    request(c, "web/a", "n1", address="10.0.0.9")
    request(c, "web/b", "n1", sticky="7d")
    request(c, "web/c", "n2", sticky="30s")
    request(c, "db/a", "n3", address="10.0.0.70")
    request(c, "db/plain", "n3", network="net")
    c.no_pod("web/b")
    c.decide()
    return c


def test_namespaces_and_groups_with_what_they_use() -> None:
    c = used()
    for state in (c.state, c.rebuilt().state):
        (view,) = pinned(state)
        assert view.namespaces == {"db": 1, "web": 3}
        assert view.groups == (
            BrokenBlocks(group="a", prefix="10.0.0.0/26", broken=1, allowed=3),
            BrokenBlocks(group="b", prefix="10.0.0.64/26", broken=1, allowed=3),
        )
        assert msgspec.json.encode(view)


def test_a_pod_shows_what_it_requested_and_what_it_got() -> None:
    c = cluster()
    request(c, "web/b", "n1", sticky="7d")
    (pod,) = views.pod(c.state, "web", "b")
    assert (pod.retention, pod.requested_retention) == (3_600_000_000, 7 * 86_400_000_000)


def test_a_plan_names_who_is_over_new_limits_and_what_is_kept_for_a_shorter_time() -> None:
    c = used()
    plan = changes(c.state, merge(c.state.topology, racks(max_per_namespace=2, max_retention="10m")))
    assert (plan.safe, plan.addresses_kept, plan.shortened) == (True, 4, 1)
    (network,) = plan.networks
    assert network.kind == "changed"
    assert network.limits
    assert network.was_limits
    assert (network.was_limits.max_per_namespace, network.limits.max_per_namespace) == (16, 2)
    (view,) = plan.pinned
    assert {name for name, count in view.namespaces.items() if count > 2} == {"web"}
