"""Pods' annotations, from the API server to the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.cli.api import ApiThread
from tests.identities import log_options

if TYPE_CHECKING:
    from tests.cli.processes import Home
    from tests.servers import NatsServer


def test_pod_annotations(nats_server: NatsServer, home: Home) -> None:
    with ApiThread() as api:
        ask_for_it(api, log_options(nats_server.url, "wishes"), home)


def ask_for_it(api: ApiThread, log: tuple[str, ...], home: Home) -> None:
    """The network is the default one, of which the zone has the first eighth."""
    api.node("n7", "zone-7", "192.0.2.7")
    api.pod("fixed", "n7", address="100.127.255.7")
    api.pod("elsewhere", "n7", network="blue")
    api.pod("pg-0", "n7", namespace="db", sticky_address="10m")
    with home.start("up", "--server", api.server.url, "--plain", *log) as up:
        up.until(lambda: "AddressDenied    web/elsewhere on n7: there is no network blue" in up.out, "denied")
        up.until(
            lambda: "web/fixed on n7: 100.127.255.7 is outside the groups of node n7" in up.out, "outside"
        )
        up.until(lambda: "db/pg-0 gets " in up.out, "sticky")
        address = up.out.partition("db/pg-0 gets ")[2].split()[0]
        api.no_pod("pg-0", "db")
        up.until(lambda: f"db/pg-0 releases {address}" in up.out, "given back")
        api.node("n8", "zone-7", "192.0.2.8")
        api.pod("pg-0", "n8", namespace="db", sticky_address="10m")
        up.until(lambda: f"db/pg-0 gets {address} on n8" in up.out, "there again")
        api.no_pod("fixed")
        api.pod("fixed", "n7", address=address.rpartition(".")[0] + ".99")
        up.until(lambda: f"web/fixed gets {address.rpartition('.')[0]}.99 on n7" in up.out, "fixed")
        assert up.stop().code == 0
