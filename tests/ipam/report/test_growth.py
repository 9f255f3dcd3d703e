"""Growth of the used addresses from the events of a window, and the forecast of exhaustion."""

from __future__ import annotations

import pytest

from romana_bus import events as ev
from romana_bus.events.base import SECOND
from romana_bus.inet import parse_prefix
from romana_bus.ipam.report import views
from romana_bus.ipam.report.forecast import Forecast, Forecasts
from romana_bus.ipam.report.growth import HOUR, LEAST, SETTLING, Growth, Ledger, window
from romana_bus.ipam.report.tenants import tenants
from tests.ipam.cluster import Cluster, topology

ALL = parse_prefix("10.0.0.0/8")
NOW = 1_000 * HOUR


def given(name: str, *addresses: str, node: str = "n1", tenant: str = "web") -> ev.AddressAssigned:
    held = tuple(ev.PodAddress(address=one, network="net", block="10.0.0.0/28") for one in addresses)
    return ev.AddressAssigned(namespace=tenant, name=name, uid="1", node=node, tenant=tenant, addresses=held)


def released(
    name: str, *addresses: str, node: str = "n1", tenant: str = "web", at: int = NOW
) -> ev.AddressReleased:
    cooling = tuple(
        ev.CoolingAddress(address=one, block="10.0.0.0/28", until=at + 30 * SECOND) for one in addresses
    )
    return ev.AddressReleased(namespace=tenant, name=name, uid="1", node=node, cooling=cooling)


def denied(name: str) -> ev.AddressDenied:
    return ev.AddressDenied(namespace="web", name=name, uid="1", node="n1", code="exhausted", reason="full")


def growth(*events: ev.AddressEvent, hours: float = 1.0) -> Growth:
    ledger = Ledger()
    for event in events:
        ledger.fold(event, NOW)
    return ledger.growth(NOW - int(hours * HOUR), NOW)


@pytest.mark.parametrize(
    ("events", "net"),
    [
        ((), 0),
        ((given("a", "10.0.0.1"),), 1),
        ((given("a", "10.0.0.1"), released("a", "10.0.0.1")), 0),
        ((released("a", "10.0.0.1"),), -1),
        ((released("a", "10.0.0.1"), given("a", "10.0.0.2")), 0),
        ((released("a", "10.0.0.1"), given("a", "10.0.0.2"), released("a", "10.0.0.2", "10.0.0.1")), -1),
        ((denied("a"),), 0),
        ((denied("a"), given("a", "10.0.0.1")), 1),
        ((released("a"),), 0),
        ((given("a", "10.0.0.1"), given("b", "10.0.0.2"), released("c", "10.0.0.3")), 1),
    ],
)
def test_net_growth(events: tuple[ev.AddressEvent, ...], net: int) -> None:
    assert growth(*events).within(ALL) == net


def test_addresses_cooled_before_the_window_do_not_count_as_released() -> None:
    assert growth(released("a", "10.0.0.1", at=NOW - 60 * SECOND)).within(ALL) == 0


def test_by_prefix_node_and_tenant() -> None:
    found = growth(
        given("a", "10.0.0.1", "fd00::1"),
        given("b", "10.0.1.1", "fd00::2", node="n2", tenant="db"),
        released("c", "10.0.1.2", "fd00::3", node="n2"),
        hours=2,
    )
    assert found.within(parse_prefix("10.0.0.0/24")) == 1
    assert found.within(parse_prefix("10.0.1.0/24")) == 0
    assert found.within(parse_prefix("fd00::/64")) == 1
    assert found.within(parse_prefix("fd01::/64")) == 0
    assert found.of_node("n2", parse_prefix("10.0.1.0/24")) == 0
    assert found.of_node("n1", parse_prefix("fd00::/64")) == 1
    assert (found.of_tenant("web"), found.of_tenant("db"), found.of_tenant("none")) == (0, 2, 0)
    assert (found.hours, found.per_hour(3)) == (2.0, 1.5)


def test_hours_until_exhaustion() -> None:
    found = growth(hours=0.5)
    assert found.left(100, 10) == 5.0
    assert found.left(0, 10) == 0.0
    assert found.left(100, 0) is None
    assert found.left(100, -3) is None
    assert found.left(2**80, 1) == 2**79


def test_the_window_is_the_last_hours() -> None:
    assert window(NOW, 1.0, NOW - 100 * HOUR) == NOW - HOUR
    assert window(NOW, 0.5, 0) == NOW - HOUR // 2


def test_start_of_the_log_is_no_growth_and_a_short_log_gives_none() -> None:
    began = NOW - HOUR // 2
    assert window(NOW, 1.0, began) == began + SETTLING
    assert window(NOW, 1.0, NOW - SETTLING - LEAST) == NOW - LEAST
    assert window(NOW, 1.0, NOW - SETTLING - LEAST + 1) is None
    assert window(NOW, 1.0, NOW) is None


# --- how long it lasts ---


def cluster() -> Cluster:
    """Group a: n1 with two pods in a block of eight; n2 in group b; what is behind is kept."""
    c = Cluster(
        topology("10.0.0.0/24", 29, *({"name": name, "assignment": {"rack": name}} for name in "abc"))
    )
    c.node("n1", {"rack": "a"})
    c.node("n2", {"rack": "b"})
    c.pod("web/p1", "n1")
    c.pod("db/p2", "n1")
    c.decide()
    return c


def forecasts(c: Cluster, found: Growth | None) -> Forecasts:
    return Forecasts(views.networks(c.state), found)


def test_forecast_of_group_and_network_follows_their_free_addresses() -> None:
    c = cluster()
    found = forecasts(c, growth(given("p1", "10.0.0.0"), given("p2", "10.0.0.1", tenant="db")))
    (network,) = found.networks
    assert found.network(network) == Forecast(2.0, (192 - 2) / 2)
    groups = {group.group: found.group(group) for group in network.groups if group.leaf}
    assert groups == {"a": Forecast(2.0, 31.0), "b": Forecast(0.0, None), "c": Forecast(0.0, None)}


def test_forecast_of_a_node_counts_its_blocks_and_free_blocks_of_its_group() -> None:
    c = cluster()
    first, second = views.hosts(c.state)
    found = forecasts(c, growth(given("p1", "10.0.0.0")))
    assert found.host(first) == Forecast(1.0, 62.0)
    assert found.host(second) == Forecast(0.0, None)
    faster = growth(given("p1", "10.0.0.0"), given("x", "10.0.0.63", node="n9"))
    assert forecasts(c, faster).host(first) == Forecast(1.0, 31.0)  # its group does not last longer


def test_forecast_of_a_tenant_follows_its_networks() -> None:
    c = cluster()
    found = forecasts(c, growth(given("p1", "10.0.0.0"), given("x", "10.0.0.64", tenant="other")))
    db, web = tenants(c.state, found.networks)
    assert found.tenant(web) == Forecast(1.0, (192 - 2) / 2)
    assert found.tenant(db) == Forecast(0.0, (192 - 2) / 2)


def test_no_forecast_without_data() -> None:
    c = cluster()
    found = forecasts(c, None)
    (network,) = found.networks
    assert found.network(network) == found.group(network.groups[0]) == Forecast()
    assert found.host(views.hosts(c.state)[0]) == found.tenant(tenants(c.state)[0]) == Forecast()


def test_full_group_has_zero_hours_left() -> None:
    c = Cluster(topology("10.0.0.0/31", 31), warm_blocks=0)
    c.node("n1")
    c.node("n2")
    c.pod("web/a", "n1")
    c.pod("web/b", "n1")
    c.decide()
    for found in (forecasts(c, None), forecasts(c, growth())):
        (network,) = found.networks
        ends = [
            found.network(network),
            *map(found.group, network.groups),
            *map(found.host, views.hosts(c.state)),
        ]
        assert [one.hours_left for one in (*ends, found.tenant(tenants(c.state)[0]))] == [0.0] * len(ends) + [
            0.0
        ]


def test_family_that_is_exhausted_first_counts() -> None:
    document = {
        "networks": [
            {"name": "four", "cidr": "10.0.0.0/28", "block_mask": 30},
            {"name": "six", "cidr": "fd00::/64", "block_mask": 126},
        ],
        "topologies": [{"networks": ["four", "six"], "map": [{"groups": []}]}],
    }
    c = Cluster(document)
    c.node("n1")
    c.pod("web/a", "n1")
    c.decide()
    found = forecasts(c, growth(given("a", "10.0.0.0", "fd00::")))
    assert found.host(views.hosts(c.state)[0]) == Forecast(2.0, 15.0)
    assert found.tenant(tenants(c.state)[0]) == Forecast(2.0, 15.0)
