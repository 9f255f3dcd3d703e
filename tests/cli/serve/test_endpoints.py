"""/healthz, /readyz and /metrics, for those who look after what runs; and logs for machines."""

from __future__ import annotations

import itertools
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from tests.cli.api import ApiThread
from tests.identities import log_options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.processes import Home, Running
    from tests.servers import NatsServer

_clusters = itertools.count(1)
SERVING = "serving /healthz, /readyz and /metrics"


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return log_options(nats_server.url, f"serving{next(_clusters)}")


@pytest.fixture
def api() -> Iterator[ApiThread]:
    with ApiThread() as made:
        for number, zone in enumerate("aab"):
            made.node(f"n{number}", zone, f"192.0.2.{number}")
            made.pod(f"p{number}", f"n{number}")
        yield made


def ask(url: str, path: str, status: int = 200) -> str:
    """The answer's text, '' where its status is another."""
    try:
        with urllib.request.urlopen(f"{url}{path}", timeout=10) as answer:
            return str(answer.read().decode()) if answer.status == status else ""
    except urllib.error.HTTPError as error:
        with error:
            return error.read().decode() if error.code == status else ""


def samples(url: str) -> dict[str, float]:
    """`name{label="value"}` -> value."""
    lines = (line for line in ask(url, "/metrics").splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def url_of(running: Running) -> str:
    return str(running.until_logged(SERVING)["url"])


def is_ready(running: Running, url: str) -> None:
    running.until(lambda: ask(url, "/readyz").startswith("ok\n"), "ready")


def test_up_serves_health_and_metrics(api: ApiThread, log: tuple[str, ...], home: Home) -> None:
    with home.start("up", "--server", api.server.url, "--plain", "--listen", "127.0.0.1:0", *log) as up:
        url = url_of(up)
        up.until(lambda: up.out.count("AddressAssigned") == 3, "three addresses")
        is_ready(up, url)
        assert ask(url, "/healthz") == "ok\n"
        found = samples(url)
        assert found['romana_addresses{network="default",state="used"}'] == 3
        assert found['romana_addresses{network="default",state="free"}'] == 2**22 - 3
        assert found['romana_nodes{placed="true"}'] == 3
        assert found['romana_blocks{network="default"}'] >= 3
        assert found['romana_events_published_total{consumer="ipam",type="AddressAssigned"}'] == 3
        assert found['romana_events_published_total{consumer="watch",type="PodSeen"}'] == 3
        assert found['romana_leader{consumer="ipam"}'] == 1
        assert found['romana_watch_synced{resource="pods"}'] == 1
        assert f"{url}/metrics" in up.out
        assert up.stop().code == 0


def test_pods_that_get_no_address_are_counted_by_reason(
    api: ApiThread, log: tuple[str, ...], home: Home
) -> None:
    api.node("lost", "nowhere", "192.0.2.9")
    api.pod("waits", "lost")
    arguments = ("--server", api.server.url, "--plain", "--listen", "127.0.0.1:0", "--topology", "-")
    document = home.directory / "topology.json"
    group = {"name": "a", "assignment": {"topology.kubernetes.io/zone": "a"}, "groups": []}
    network = {"name": "pods", "cidr": "10.8.0.0/16", "block_mask": 28}
    topologies = [{"networks": ["pods"], "map": [group]}]
    document.write_text(json.dumps({"networks": [network], "topologies": topologies}))
    with home.start("up", *arguments[:-1], str(document), *log) as up:
        url = url_of(up)
        up.until(lambda: up.out.count("AddressDenied") == 2, "two without an address")
        found = samples(url)
        assert sum(value for name, value in found.items() if "addresses_denied{" in name) == 2
        assert found['romana_nodes{placed="false"}'] == 2
        shown = home.run("ipam", "show", *log).out
        assert "pods without an address" in shown
        assert "nodes without a place" in shown
        assert up.stop().code == 0


def test_watch_and_run_as_separate_processes(api: ApiThread, log: tuple[str, ...], home: Home) -> None:
    watching = home.start("watch", "--server", api.server.url, "--listen", "127.0.0.1:0", *log)
    running = home.start("run", "ipam", "--listen", "127.0.0.1:0", *log)
    with watching, running:
        for one in (watching, running):
            is_ready(one, url_of(one))
        leads = "romana_leader"
        running.until(lambda: samples(url_of(running)).get(f'{leads}{{consumer="ipam"}}') == 1, "leads")
        watching.until(lambda: samples(url_of(watching)).get(f'{leads}{{consumer="watch"}}') == 1, "leads")
        used = 'romana_addresses{network="default",state="used"}'
        running.until(lambda: samples(url_of(running))[used] == 3, "three addresses")
        is_led(home, log)
        assert running.stop().code == 0
        assert watching.stop().code == 0
        assert watching.out == running.out == ""


def is_led(home: Home, log: tuple[str, ...]) -> None:
    """`status` names who leads, and who follows how far."""
    found = home.run("status", "--json", *log).json
    assert all("/" in one["lease"] and one["term"] == 1 for one in found["leaders"])
    assert {one["consumer"].split("-")[0] for one in found["consumers"]} == {"ipam", "watch"}
    assert all(one["lag"] == 0 for one in found["consumers"])
    result = home.run("status", *log)
    assert "nobody" not in result.out
    assert "synced" in result.out


def test_a_standby_is_ready_and_takes_over(api: ApiThread, log: tuple[str, ...], home: Home) -> None:
    first = home.start("run", "ipam", *log)
    with first:
        first.until_logged("leading")
        with home.start("run", "ipam", "--listen", "127.0.0.1:0", *log) as second:
            is_ready(second, url_of(second))
            assert samples(url_of(second)).get('romana_leader{consumer="ipam"}', 0) == 0
            first.stop()
            assert second.until_logged("leading")["term"] == 2
            assert second.stop().code == 0


def test_logs_are_text_on_a_terminal_and_json_elsewhere(
    api: ApiThread, log: tuple[str, ...], home: Home
) -> None:
    arguments = ("watch", "--server", api.server.url, *log)
    with home.start(*arguments) as watching:
        line = watching.until_logged("leading")
        assert (line["stream"], line["level"]) == ("KUBE", "info")
        watching.stop()
    with home.start_on_terminal(24, 120, *arguments) as watching:
        watching.until(lambda: "leading" in watching.out, "text")
        assert "{" not in watching.out
        watching.stop()
    with home.start_on_terminal(24, 120, *arguments, "--json") as watching:
        watching.until(lambda: '"event": "leading"' in watching.out, "JSON where it is asked for")
        watching.stop()
    with home.start(*arguments, "--log-level", "error") as watching:
        watching.until(lambda: api.do(lambda: api.server.watches("pods")), "a watch")
        assert watching.stop().err == ""
