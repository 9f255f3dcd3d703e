"""`--network`: whatever prefix is taken gives addresses to pods."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

import pytest

from romana_bus.cli.common.options import Addresses
from tests.cli.api import ApiThread
from tests.identities import log_options
from tests.ipam.cluster import Cluster

if TYPE_CHECKING:
    from tests.cli.processes import Home
    from tests.servers import NatsServer

NETWORKS = [f"{base}/{length}" for base, lengths in (("10.0.0.0", range(7, 30)), ("fd00::", range(8, 126)))
            for length in lengths]  # fmt: skip


@pytest.mark.parametrize("network", NETWORKS)
def test_pods_in_two_zones_get_addresses_of_the_network(network: str) -> None:
    settings = Addresses(network=network, warm_blocks=0).settings
    cluster = Cluster(default_network=network, default_block_mask=settings.default_block_mask, warm_blocks=0)
    for zone in "ab":
        cluster.node(zone, {settings.zone_label: zone})
        cluster.pod(f"web/{zone}", zone)
    cluster.decide()
    given = cluster.addresses()
    assert set(given) == {"web/a", "web/b"}
    assert len(set(given.values())) == 2
    assert all(ipaddress.ip_address(one) in ipaddress.ip_network(network) for one in given.values())


@pytest.mark.parametrize(
    ("network", "mask"), [("100.64.0.0/10", 28), ("10.0.0.0/26", 29), ("fd20::/48", 124)]
)
def test_block_has_sixteen_addresses_in_a_large_network(network: str, mask: int) -> None:
    assert Addresses(network=network).settings.block_mask == mask


@pytest.mark.parametrize(
    ("network", "beginning", "mask"), [("fd20::/48", "fd20::", 124), ("10.9.0.0/29", "10.9.0.", 32)]
)
def test_up_with_a_chosen_network(
    network: str, beginning: str, mask: int, nats_server: NatsServer, home: Home
) -> None:
    log = log_options(nats_server.url, f"network{mask}")
    with ApiThread() as api:
        api.node("n1", "a", "2001:db8::1" if ":" in network else "192.0.2.1")
        api.pod("p1", "n1")
        with home.start("up", "--server", api.server.url, "--plain", "--network", network, *log) as up:
            up.until(lambda: "AddressAssigned" in up.out, "an address")
            assert f"web/p1 gets {beginning}" in up.out
            assert up.stop().code == 0
        shown = home.run("ipam", "show", *log)
        assert shown.code == 0, shown
        assert f"{network}, blocks of /{mask}" in shown.out
