"""`ipam check` and the timer where something is against them: what is on its way, answers that are none,
and an API server that goes away. Nobody who lives loses an address."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from tests.cli.api import ApiThread
from tests.cli.ipam.test_check import checked, lived, printed_events
from tests.cli.processes import until
from tests.identities import log_options
from tests.lab.faults import Fault

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

_clusters = itertools.count()
QUICK = ("--audit-every", "0.2", "--audit-grace", "0.2")


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return log_options(nats_server.url, f"hostile{next(_clusters)}")


def test_empty_api_server_releases_nothing(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    lived(api, log, home)
    with ApiThread() as empty:
        done = call("ipam", "check", "--repair", "--pause", "0", "--server", empty.server.url, *log)
    assert (done.code, done.out) == (2, "")
    assert "the API server shows no node, and the log has 3" in done.err
    assert "Disowned" not in printed_events(call, log)


def test_api_server_that_goes_away_between_two_checks(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    lived(api, log, home)
    api.no_pod("p1")
    before = api.server.requests["list", "pods"]

    def close() -> None:
        until(lambda: api.server.requests["list", "pods"] > before, "the first look")
        api.close()

    closing = threading.Thread(target=close)
    closing.start()
    done = call("ipam", "check", "--repair", "--pause", "1", "--server", api.server.url, *log)
    closing.join()
    assert (done.code, done.out) == (1, "")
    assert "cannot be listed" in done.err
    assert "Disowned" not in printed_events(call, log)


def test_finding_of_only_one_check_is_not_repaired(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    """A pod that the log missed, and that is gone before the second look."""
    lived(api, log, home)
    api.pod("short", "n1")
    before = api.server.requests["list", "pods"]

    def remove() -> None:
        until(lambda: api.server.requests["list", "pods"] > before, "the first look")
        api.no_pod("short")

    removing = threading.Thread(target=remove)
    removing.start()
    done = call("ipam", "check", "--repair", "--pause", "2", "--server", api.server.url, *log)
    removing.join()
    assert (done.code, done.err) == (0, "")
    assert "in one check only, and not counted: 2" in done.out
    assert "ListingAsked" not in printed_events(call, log)


def test_timer_releases_nothing_during_pod_churn(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    with home.start("up", "--server", api.server.url, "--plain", *QUICK, *log) as up:
        up.until(lambda: up.out.count("AddressAssigned") == 3, "addresses")
        up.until(lambda: "found nothing" in up.out, "a first audit")
        for number in range(150):
            api.pod(f"x{number}", f"n{number % 3}")
            if number % 6 == 5:  # more at once would be doubted for half a minute
                api.no_pod(f"x{number - 5}")
        up.until(lambda: up.out.count("PodGone") == 25, "what went is believed to be gone")
        before = api.server.requests["list", "pods"]
        up.until(lambda: api.server.requests["list", "pods"] > before + 3, "audits of what is left")
        assert up.stop().code == 0
    assert "Disowned" not in up.out
    assert "ListingAsked" not in up.out
    code, said = checked(call, api, log)
    assert (code, said["findings"]) == (0, [])


def test_failed_check_releases_nothing_and_reports_nothing(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    with home.start("up", "--server", api.server.url, "--plain", *QUICK, *log) as up:
        up.until(lambda: "found nothing" in up.out, "a first audit")
        fault = Fault(verb="list", plural="pods", times=4, code=503)
        api.do(lambda: api.server.faults.append(fault))
        up.until_logged("the audit failed")
        up.until(lambda: fault.times <= 0, "all of them")
        api.pod("late", "n0")
        up.until(lambda: "web/late gets" in up.out, "the watch goes on")
        assert up.stop().code == 0
    assert "Disowned" not in up.out


def test_untrusted_snapshot_is_not_reported_as_healthy(
    api: ApiThread, log: tuple[str, ...], home: Home, call: Call
) -> None:
    """The API server has lost its nodes, and the watch has seen nothing of that: it was given another
    server's log to go on with."""
    lived(api, log, home)
    with ApiThread() as empty:
        for number in range(20):
            empty.pod(f"y{number}", "elsewhere")
        with home.start("watch", "--server", empty.server.url, *QUICK, *log) as watching:
            watching.until_logged("the audit does not trust what it read")
            assert watching.stop().code == 0
    assert "found nothing" not in printed_events(call, log)
    assert "Disowned" not in printed_events(call, log)
