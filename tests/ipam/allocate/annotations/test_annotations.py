"""What a pod asks for by annotation: a network by name, and what is denied because it makes no sense."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from tests.ipam.allocate.annotations.annotated import NO_TIME, cluster, request, why
from tests.ipam.cluster import Cluster, topology
from tests.ipam.racks import RACKS


@pytest.mark.parametrize(
    ("requested", "reason"),
    [
        ({"address": "10.0.0"}, "romana.io/address: '10.0.0' is not an IP address"),
        (
            {"address": "10.0.0.1,10.0.0.2"},
            "romana.io/address: '10.0.0.1,10.0.0.2' has two addresses of one family",
        ),
        ({"sticky": "soon"}, f"romana.io/sticky-address: 'soon' {NO_TIME}"),
        ({"sticky": "0s"}, f"romana.io/sticky-address: '0s' {NO_TIME}"),
        ({"network": "blue"}, "there is no network blue"),
    ],
)
def test_invalid_annotation_is_denied(requested: dict[str, str], reason: str) -> None:
    c = cluster()
    assert request(c, "web/a", "n1", **requested) == ["web/a on n1: wish"]
    assert why(c, "web/a") == reason
    c.pod("web/a", "n1")
    assert c.says()[-1] == "web/a on n1: 10.0.0.0"


# --- a network by name -----------------------------------------------------------------------------------


def test_a_network_by_name() -> None:
    document = {
        "networks": [
            {"name": "red", "cidr": "10.0.0.0/24"},
            {"name": "blue", "cidr": "10.1.0.0/24"},
            {"name": "green", "cidr": "10.2.0.0/24", "tenants": ["db"]},
            {"name": "far", "cidr": "10.3.0.0/24"},
        ],
        "topologies": [
            {"networks": ["red", "blue", "green"], "map": [{"groups": []}]},
            {"networks": ["far"], "map": [{"assignment": {"rack": "far"}}]},
        ],
    }
    c = Cluster(document, warm_blocks=0)
    c.node("n1")
    assert request(c, "web/a", "n1", network="blue")[-1] == "web/a on n1: 10.1.0.0"
    assert request(c, "web/b", "n1", network="green") == ["web/b on n1: wish"]
    assert why(c, "web/b") == "network green is not for tenant web"
    assert request(c, "db/c", "n1", network="green")[-1] == "db/c on n1: 10.2.0.0"
    assert request(c, "web/d", "n1", network="far") == ["web/d on n1: wish"]
    assert why(c, "web/d") == "node n1 is in no group of network far"
    assert request(c, "web/e", "n1", network="far,blue")[-1] == "web/e on n1: 10.1.0.1"
    assert request(c, "web/f", "n1", network="blue", address="10.0.0.5") == ["web/f on n1: wish"]
    assert why(c, "web/f") == "10.0.0.5 is outside the groups of node n1: 10.1.0.0/24"


def test_added_network_serves_waiting_pods() -> None:
    c = cluster()
    request(c, "web/a", "n1", network="blue")
    document = topology("10.0.0.0/25", 30, *RACKS)
    document["networks"].append({"name": "blue", "cidr": "10.9.0.0/24"})
    document["topologies"].append({"networks": ["blue"], "map": [{"groups": []}]})
    c.send(ev.TopologySet(document=document))
    assert c.says()[-1] == "web/a on n1: 10.9.0.0"
