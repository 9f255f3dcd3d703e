"""`ipam show`: how full everything is, how long it lasts, what is full, and who waits for it."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus import events as ev
from romana_bus.cli.common import console
from tests.cli.api import ApiThread
from tests.cli.logs import ago, stored
from tests.cli.serve.test_endpoints import samples, url_of
from tests.identities import log_options
from tests.ipam.cluster import Cluster, topology

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

pytestmark = pytest.mark.usefixtures("as_written")

_clusters = itertools.count(1)
HOUR, MINUTE = 3600, 60
RACKS = ({"name": "a", "assignment": {"rack": "a"}}, {"name": "b", "assignment": {"rack": "b"}})


def grown() -> Cluster:
    """Two pods three hours ago, ten more half an hour ago, of which four went ten minutes later."""
    c = ago(3 * HOUR, topology("10.0.0.0/24", 28))
    c.node("n1")
    c.node("n2")
    c.pod("old/a", "n1")
    c.pod("old/b", "n2")
    c.decide()
    c.later(2.5 * HOUR)
    for number in range(10):
        c.pod(f"web/p{number}", "n1")
    c.decide()
    c.later(10 * MINUTE)
    for number in range(4):
        c.no_pod(f"web/p{number}")
    c.decide()
    return c


def test_time_to_exhaustion_at_the_rate_of_the_last_hour(nats_server: NatsServer, call: Call) -> None:
    log = stored(nats_server, grown())
    found = call("ipam", "show", "--json", *log).json
    [network] = found["networks"]
    [group] = network["groups"]
    for one in (network, group):
        assert one["growth"] == pytest.approx(6, rel=0.01)
        assert one["hours_left"] == pytest.approx(248 / 6, rel=0.01)
    hosts = {host["node"]: host for host in found["hosts"]}
    assert hosts["n1"]["growth"] == pytest.approx(6, rel=0.01)
    assert hosts["n1"]["hours_left"] == pytest.approx(217 / 6, abs=3)  # less: n2's blocks are not for it
    assert (hosts["n2"]["growth"], hosts["n2"]["hours_left"]) == (0, None)
    tenants = {tenant["tenant"]: tenant for tenant in found["tenants"]}
    assert tenants["web"]["growth"] == pytest.approx(6, rel=0.01)
    assert tenants["old"]["growth"] == 0
    assert found["window"]["until"] - found["window"]["since"] == HOUR * 1_000_000
    result = call("ipam", "show", *log)
    [row] = [line.split() for line in result.lines if line.startswith("all ")]
    assert row[-3:] == ["+6.0/h", "41", "h"]
    assert "lasts: at the rate of " in result.out


def test_shrinking_usage_has_no_forecast_end(nats_server: NatsServer, call: Call) -> None:
    log = stored(nats_server, grown())
    [network] = call("ipam", "show", "--json", "--window", "0.4", *log).json["networks"]
    assert network["growth"] == pytest.approx(-10, rel=0.01)
    assert network["hours_left"] is None
    result = call("ipam", "show", "--window", "0.4", *log)
    [row] = [line.split() for line in result.lines if line.startswith("all ")]
    assert row[-2:] == ["-10/h", "-"]


def test_short_log_has_no_forecast(nats_server: NatsServer, call: Call) -> None:
    c = ago(15 * MINUTE, topology("10.0.0.0/24", 28))
    c.node("n1")
    for number in range(100):
        c.pod(f"web/p{number}", "n1")
    c.decide()
    log = stored(nats_server, c)
    found = call("ipam", "show", "--json", *log).json
    assert (found["window"], found["networks"][0]["growth"], found["networks"][0]["hours_left"]) == (
        None,
    ) * 3
    assert "lasts: unknown until the log is 20 minutes old" in call("ipam", "show", *log).out


def test_a_log_that_has_begun_within_the_window_does_not_count_its_beginning(
    nats_server: NatsServer, call: Call
) -> None:
    c = ago(40 * MINUTE, topology("10.0.0.0/24", 28))
    c.node("n1")
    for number in range(100):
        c.pod(f"web/p{number}", "n1")
    c.decide()
    c.later(20 * MINUTE)
    c.pod("web/last", "n1")
    c.decide()
    [network] = call("ipam", "show", "--json", *stored(nats_server, c)).json["networks"]
    assert network["growth"] == pytest.approx(2, rel=0.01)


def crowded() -> Cluster:
    """Rack a is full and one pod waits; in b all blocks are n2's, and two pods wait on n3."""
    c = ago(HOUR, topology("10.0.0.0/29", 31, *RACKS), warm_blocks=0, cooldown=0)
    for node, rack in (("n1", "a"), ("n2", "b"), ("n3", "b")):
        c.node(node, {"rack": rack})
    for name in "abcde":
        c.pod(f"web/{name}", "n1")
    for name in "fgh":
        c.pod(f"web/{name}", "n2")
    c.decide()
    c.pod("web/i", "n3")
    c.pod("web/j", "n3")
    c.decide()
    return c


def test_exhausted_groups_and_waiting_pods_are_shown(nats_server: NatsServer, call: Call) -> None:
    log = stored(nats_server, crowded())
    result = call("ipam", "show", *log)
    [first] = [line for line in result.lines if line.startswith("group a of net")]
    assert first.rstrip().endswith("  no free address")
    assert " 1 " in first
    [second] = [line for line in result.lines if line.startswith("group b of net")]
    assert second.rstrip().endswith("no whole block left for n3; 1 free address is in blocks of other nodes")
    assert " 2 " in second
    assert result.lines.index("exhausted") < result.lines.index("pods without an address")
    found = call("ipam", "show", "--json", *log).json
    assert [(one["scope"], one["group"], one["nodes"], one["waiting"]) for one in found["full"]] == [
        ("group", "a", [], 1),
        ("block", "b", ["n3"], 2),
    ]
    [rack_a] = [line.split() for line in result.lines if line.startswith("a ")]
    assert rack_a[-1] == "full"
    assert [group["hours_left"] for group in found["networks"][0]["groups"] if group["leaf"]] == [0, None]
    assert [(host["node"], host["hours_left"]) for host in found["hosts"]] == [
        ("n1", 0),
        ("n2", None),
        ("n3", 0),
    ]
    assert {(one["pod"], one["code"]) for one in found["waiting"]} == {
        (f"web/{name}", "exhausted") for name in "eij"
    }


def test_a_full_network_is_one_line(nats_server: NatsServer, call: Call) -> None:
    c = ago(HOUR, topology("10.0.0.0/30", 31, *RACKS), warm_blocks=0, cooldown=60_000_000)
    for node in "ab":
        c.node(node, {"rack": node})
        for name in "123":
            c.pod(f"web/{node}{name}", node)
    c.decide()
    result = call("ipam", "show", *stored(nats_server, c))
    assert [
        line.split("  ")[0] for line in result.lines if "no free address" in line or "no group" in line
    ] == ["network net"]
    assert "no group has a free address" in result.out


def test_exhaustion_and_its_end_in_event_metric_and_show(
    nats_server: NatsServer, home: Home, call: Call
) -> None:
    log = log_options(nats_server.url, f"full{next(_clusters)}")
    document = home.directory / "topology.json"
    document.write_text(json.dumps(topology("10.8.0.0/29", 31, {"name": "a"}, {"name": "b"})))
    serving = ("--plain", "--listen", "127.0.0.1:0", "--topology", str(document), "--warm-blocks", "0")
    group = 'romana_exhausted{group="a",network="net",scope="group"}'
    denied = 'romana_addresses_denied{code="exhausted",scope="group"}'
    with ApiThread() as api:
        api.node("n1", "zone", "192.0.2.1")
        with home.start("up", "--server", api.server.url, *serving, *log) as up:
            up.until(lambda: "HostPlaced" in up.out, "a place")
            assert call("ipam", "reserve", "10.8.0.2/31", *log).code == 0
            for name in ("p1", "p2", "p3"):
                api.pod(name, "n1")
            up.until(lambda: "AddressDenied" in up.out, "a pod without an address")
            [said] = [line for line in up.out.splitlines() if "AddressDenied" in line]
            assert "full: network net, group a, 10.8.0.0/30" in said
            found = samples(url_of(up))
            assert (found[group], found[denied]) == (1, 1)
            [full] = call("ipam", "show", "--json", *log).json["full"]
            assert (full["scope"], full["group"], full["waiting"]) == ("group", "a", 1)

            assert call("ipam", "unreserve", "10.8.0.2/31", *log).code == 0
            up.until(lambda: up.out.count("AddressAssigned") == 3, "three addresses")
            found = samples(url_of(up))
            assert (found[group], found.get(denied)) == (0, None)
            shown = call("ipam", "show", *log).out
            assert "group a of net" not in shown or "no free address" not in shown
            assert "pods without an address" not in shown
            assert up.stop().code == 0


@pytest.fixture(scope="module")
def large(nats_server: NatsServer) -> tuple[str, ...]:
    """60 nodes, of which n07 is the fullest, and 60 tenants, all of whom wait on a node without a place."""
    c = ago(HOUR, topology("10.0.0.0/16", 29, {"name": "a", "assignment": {"rack": "a"}}))
    for number in range(60):
        c.node(f"n{number:02}", {"rack": "a"})
        c.pod(f"t{number:02}/p", "x-lost")
    for number in range(8):
        c.pod(f"t00/q{number}", "n07")
    c.node("x-lost")
    c.decide()
    return stored(nats_server, c)


def test_large_cluster_shows_the_fullest_groups(large: tuple[str, ...], call: Call) -> None:
    result = call("ipam", "show", *large)
    nodes = [line.split()[0] for line in result.lines if line.startswith("n") and "192.168." in line]
    assert len(nodes) == console.ROWS
    assert nodes[0] == "n07"
    assert (
        "and 11 more: the fullest are shown; --host NAME shows one, --all shows all, --json too" in result.out
    )
    assert result.out.count("and 10 more: --all shows all, --json too") == 2  # tenants, waiting pods
    result = call("ipam", "show", "--all", *large)
    assert len([line for line in result.lines if line.startswith("n") and "192.168." in line]) == 60
    assert " more: " not in result.out
    found = call("ipam", "show", "--json", *large).json
    assert [len(found[name]) for name in ("hosts", "tenants", "waiting")] == [61, 60, 60]


def test_counts_of_ipv6_are_readable_and_exact_for_programs(nats_server: NatsServer, call: Call) -> None:
    c = ago(HOUR, topology("fd00::/48", 120))
    c.node("n1")
    c.pod("web/a", "n1")
    c.send(ev.RangeReserved(cidr="fd00:0:0:8000::/64"))
    c.decide()
    log = stored(nats_server, c)
    result = call("ipam", "show", *log)
    [row] = [line.split() for line in result.lines if line.startswith("all ")]
    assert row[1] == "fd00::/48"
    assert {"2^64", "~2^80"} <= set(row)
    [network] = call("ipam", "show", "--json", *log).json["networks"]
    room = network["room"]
    assert room["size"] == 2**80
    assert room["used"] + room["cooling"] + room["reserved"] + room["free"] == 2**80
    assert room["free"] == 2**80 - 2**64 - 1


@pytest.mark.parametrize("columns", [80, 100, 140])
def test_it_fits_the_screen(columns: int, nats_server: NatsServer, home: Home) -> None:
    c = crowded()
    c.send(ev.RangeReserved(cidr="10.0.0.6/32"))
    log = stored(nats_server, c)
    with home.start_on_terminal(24, columns, "ipam", "show", *log) as looking:
        assert looking.wait().code == 0
        shown = looking.frames[-1].splitlines()
    assert max(map(len, shown)) <= columns
    for part in ("tenants (namespaces)", "reserved ranges", "nodes", "exhausted"):
        assert part in shown
    header = next(line for line in shown if line.startswith("node "))
    assert ("blocks" in header, "growth" in header) == (columns > 100, columns >= 100)


def row(text: str, name: str) -> Any:
    return next(line.split() for line in text.splitlines() if line.startswith(name))


def test_reserved_ranges_drain(nats_server: NatsServer, call: Call) -> None:
    c = ago(HOUR, topology("10.0.0.0/24", 28))
    c.node("n1")
    for name in "abc":
        c.pod(f"web/{name}", "n1")
    c.decide()
    log = stored(nats_server, c)
    call("ipam", "reserve", "10.0.0.0/28", *log).complains(
        2, "not reserved: 10.0.0.0/28 has addresses in use: 10.0.0.0 (web/a), 10.0.0.1", "With --drain it is"
    )
    assert "reserved ranges" not in call("ipam", "show", *log).out
    result = call("ipam", "reserve", "10.0.0.0/28", "--drain", *log)
    assert result.code == 0
    assert "10.0.0.0/28 reserved\ndraining: 3 left: 10.0.0.0 (web/a), 10.0.0.1 (web/b), 10" in result.out
    assert row(call("ipam", "show", *log).out, "10.0.0.0/28")[1:] == ["net", "16", "draining:", "3", "left"]
    again = call("ipam", "reserve", "10.0.0.0/28", *log)
    assert (again.code, again.lines[0]) == (0, "unchanged: 10.0.0.0/28 is reserved already")
    inside = call("ipam", "reserve", "10.0.0.9", "--json", *log).json
    assert (inside["changed"], inside["covered_by"]) == (False, "10.0.0.0/28")


def test_a_larger_range_takes_the_place_of_smaller_ones(nats_server: NatsServer, call: Call) -> None:
    log = stored(nats_server, ago(HOUR, topology("10.0.0.0/24", 28)))
    assert call("ipam", "reserve", "10.0.0.129", "--json", *log).json["reserved"] == ["10.0.0.129/32"]
    result = call("ipam", "reserve", "10.0.0.128/25", *log)
    assert result.lines == [
        "10.0.0.128/25 reserved",
        "10.0.0.129/32 no longer reserved: inside 10.0.0.128/25",
    ]
    [found] = call("ipam", "show", "--json", *log).json["reserved"]
    assert (found["cidr"], found["network"], found["size"], found["live"]) == ("10.0.0.128/25", "net", 128, 0)
    call("ipam", "unreserve", "10.0.0.129", *log).complains(
        2, "10.0.0.129/32 is not reserved; 10.0.0.128/25 is"
    )
    assert call("ipam", "unreserve", "10.0.0.128/25", *log).out == "10.0.0.128/25 no longer reserved\n"
    call("ipam", "unreserve", "10.0.0.128/25", *log).complains(2, "10.0.0.128/25 is not reserved; nothing is")
    assert call("ipam", "reserve", "10.0.0.128/25", "--json", *log).json["changed"] is True


@pytest.mark.parametrize(
    ("cidr", "part"),
    [
        ("10.1.0.0/24", "10.1.0.0/24 is not inside one network; there is: net 10.0.0.0/24"),
        ("10.0.0.0/24", "10.0.0.0/24 is all of network net: reserve a part of it"),
    ],
)
def test_a_range_that_cannot_be_reserved_changes_nothing(
    cidr: str, part: str, nats_server: NatsServer, call: Call
) -> None:
    log = stored(nats_server, ago(HOUR, topology("10.0.0.0/24", 28)))
    call("ipam", "reserve", cidr, *log).complains(2, part)
    assert call("ipam", "show", "--json", *log).json["reserved"] == []
