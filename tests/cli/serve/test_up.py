"""`up`: a recorded cluster to its end, a live one until it is stopped; and then nothing is left."""

from __future__ import annotations

import itertools
import re
import signal
from typing import TYPE_CHECKING

import pytest

from romana_bus.cli.main import main
from tests.cli.api import ApiThread
from tests.cli.logs import begun
from tests.cli.processes import RECORDINGS, until
from tests.identities import log_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

_clusters = itertools.count(1)
PLAYED = ("up", "--recording", str(RECORDINGS), "--speed", "1000")
EVENT = re.compile(r"\d\d:\d\d:\d\d\.\d{3}  (SPEC|KUBE|IPAM)/\d+ +[A-Z][A-Za-z]+ +\S")


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return log_options(nats_server.url, f"up{next(_clusters)}")


@pytest.fixture
def live() -> Iterator[ApiThread]:
    with ApiThread() as api:
        api.node("n1", "zone-a", "192.0.2.1")
        api.pod("api-0", "n1")
        yield api


def test_a_recording_as_lines(home: Home) -> None:
    """On a server of its own, with a store that goes with it."""
    result = home.run(*PLAYED, "--plain")
    assert result.code == 0
    assert result.lines[0].startswith(f"watching the recording {RECORDINGS}, 1000 times as fast, NATS 2.")
    ended = result.lines.index("The recording has ended.")
    assert all(EVENT.match(line) for line in result.lines[1 : ended - 1])
    assert result.lines[ended + 1] == "9 nodes, 25 pods; 16 of 16 that need an address have one."
    assert any(line.startswith("us-east-1c  100.") for line in result.lines[ended:])
    assert all(line.startswith("{") for line in result.err.splitlines())
    assert not (home.directory / "state").exists()
    until(lambda: not home.left(), "the server is gone")


def test_a_recording_as_json(log: tuple[str, ...], home: Home) -> None:
    result = home.run(*PLAYED, "--json", *log)
    assert result.code == 0
    events = result.json_lines
    assert {one["stream"] for one in events} == {"SPEC", "KUBE", "IPAM"}
    for stream in ("SPEC", "KUBE", "IPAM"):
        numbers = [one["seq"] for one in events if one["stream"] == stream]
        assert numbers == list(range(1, len(numbers) + 1))
    assigned = {one["event"]["name"] for one in events if one["event"]["type"] == "AddressAssigned"}
    assert len(assigned) >= 16


def test_the_network_of_the_log_is_shown_and_not_another(
    log: tuple[str, ...], live: ApiThread, home: Home, call: Call
) -> None:
    with home.start("up", "--server", live.server.url, "--plain", "--network", "10.64.0.0/12", *log) as up:
        up.until(lambda: "web/api-0 gets 10.64.0." in up.out, "an address")
        assert "network default  10.64.0.0/12" in call("ipam", "show", *log).out
        assert "zone-a  10.64.0.0/15" in call("topology", "show", *log).out
        assert up.stop().code == 0


@pytest.mark.parametrize(
    "content", ["", "hello\n", '{"t":0,"kind":"list","path":"/x","status":200,"body":""}\n']
)
def test_invalid_recording(content: str, tmp_path: Path, call: Call) -> None:
    (tmp_path / "pods.jsonl").write_text(content)
    call("up", "--recording", str(tmp_path)).complains(2, f"{tmp_path}/pods.jsonl")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_up_cleanly(number: int, live: ApiThread, home: Home) -> None:
    """The server that it started ends with it; what it stored is there when the next one comes."""
    with home.start("up", "--server", live.server.url, "--plain") as up:
        up.until(lambda: "web/api-0 gets 100.64.0." in up.out, "an address")
        assert home.left()
        result = up.stop(number)
    assert result.code == 0
    assert "Traceback" not in result.err
    if number == signal.SIGTERM:
        until(lambda: not home.left(), "the server is gone")
        assert home.run("ipam", "show", "--json").json["hosts"][0]["pods"] == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_following_cleanly(number: int, log: tuple[str, ...], home: Home) -> None:
    begun(log[1], log[3])
    with home.start("events", "tail", *log) as tailing, ApiThread() as api:
        with home.start("watch", "--server", api.server.url, *log):
            tailing.until(lambda: "LeaderElected" in tailing.out, "an event")
        result = tailing.stop(number)
    assert (result.code, result.err) == (0, "")


def test_second_up_joins_the_server_of_the_first(live: ApiThread, home: Home) -> None:
    with home.start("up", "--server", live.server.url, "--plain") as up:
        up.until(lambda: "web/api-0 gets" in up.out, "an address")
        servers = home.left()
        found = home.run("status", "--json").json
        assert all(one["lease"] for one in found["leaders"])
        assert home.left() == servers
        assert up.stop().code == 0


def test_interrupt_of_a_short_command(home: Home) -> None:
    """Handled by us, or, once our loop is closed, by the system: the shell sees 130."""
    with home.start("status") as looking:
        until((home.directory / "state").exists, "it has begun")
        result = looking.stop(signal.SIGINT)
    assert result.code in (0, 130, -signal.SIGINT)
    assert "Traceback" not in result.err


def test_interrupt_during_startup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("romana_bus.cli.app.call", interrupted)
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == ""
