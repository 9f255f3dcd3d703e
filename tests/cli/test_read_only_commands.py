"""What the commands that only look show of a cluster, to a person and to a program, wherever it goes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cli.logs import begun
from tests.identities import log_options
from tests.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home


LOOKING = ("ipam show", "topology show", "status", "events tail --no-follow")
ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")


@pytest.fixture
def fresh_server(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats", users="") as server:
        yield server


@pytest.fixture
def empty(nats_server: NatsServer) -> tuple[str, ...]:
    return begun(nats_server.url, "empty")


def test_ipam_show(recorded: tuple[str, ...], call: Call) -> None:
    result = call("ipam", "show", *recorded)
    assert (result.code, result.err) == (0, "")
    rows = [line.split() for line in result.lines]
    for zone in ZONES:
        [row] = [row for row in rows if row[:1] == [zone]]
        assert row[1].startswith("100.")
        assert row[1].endswith("/13")
        assert row[2] == "3"
    assert len([row for row in rows if row and row[0].endswith(".ec2.internal")]) == 9
    assert "kept for later groups: 5 prefixes" in result.out


def test_ipam_show_json(recorded: tuple[str, ...], call: Call) -> None:
    found = call("ipam", "show", "--json", *recorded).json
    parts = {"networks", "tenants", "hosts", "reserved", "pinned", "full", "waiting", "window", "obstacle"}
    assert set(found) == parts
    assert sum(host["pods"] for host in found["hosts"]) == 16
    [network] = found["networks"]
    room = network["room"]
    assert room["used"] + room["cooling"] + room["reserved"] + room["free"] == room["size"] == 2**22
    assert room["used"] == 16


def test_topology_show(recorded: tuple[str, ...], call: Call) -> None:
    result = call("topology", "show", *recorded)
    assert "No topology is set" in result.out
    for zone in ZONES:
        assert f"── {zone}  100." in result.out
    assert result.out.count("3 nodes") == 3


def test_status_without_running_processes(recorded: tuple[str, ...], call: Call) -> None:
    result = call("status", *recorded)
    assert (result.code, result.err) == (0, "")
    for part in (
        "cluster recorded",
        "what the API server shows",
        "no leader",
        "no consumer follows the log now",
    ):
        assert part in result.out
    assert "KUBE has no leader: start `romana-bus up` or `romana-bus watch`." in result.out
    found = call("status", "--json", *recorded).json
    assert [one["stream"] for one in found["streams"]] == ["SPEC", "KUBE", "IPAM", "NODE"]
    assert [(one["stream"], one["lease"], one["term"]) for one in found["leaders"]] == [
        ("KUBE", "", 1),
        ("IPAM", "", 1),
    ]
    synced = {one["resource"] for one in found["resources"] if one["synced"]}
    assert synced == {"nodes", "pods", "namespaces", "networkpolicies"}


@pytest.mark.parametrize("line", LOOKING)
def test_an_empty_log_is_no_error(line: str, empty: tuple[str, ...], call: Call) -> None:
    result = call(*line.split(), *empty)
    assert result.code == 0
    assert "romana-bus" in result.out + result.err  # it says what to do next
    result = call(*line.split(), "--json", *empty)
    assert result.code == 0
    for one in result.lines:
        json.loads(one)


@pytest.mark.parametrize("line", LOOKING)
def test_read_only_command_creates_no_cluster(line: str, recorded: tuple[str, ...], call: Call) -> None:
    for _ in range(2):
        result = call(*line.split(), *log_options(recorded[1], "typo"))
        result.complains(2, "there is no cluster typo here: there is ", " (see --cluster)")
        assert result.out == ""


def test_named_cluster_is_not_created(fresh_server: NatsServer, call: Call) -> None:
    options = ("--nats", fresh_server.url)
    result = call("status", *options, "--cluster", "typo")
    result.complains(2, "there is no cluster typo here, nor any other: `romana-bus up` creates it")
    assert call("ipam", "show", *options).code == 0
    result = call("status", *options, "--cluster", "typo")
    result.complains(2, "there is no cluster typo here: there is default (see --cluster)")


def test_named_cluster_is_not_created_on_the_embedded_server(home: Home) -> None:
    home.run("ipam", "show", "--cluster", "lab").complains(2, "there is no cluster lab here, nor any other")
    assert home.run("ipam", "show").code == 0
    home.run("status", "--cluster", "lab").complains(2, "there is no cluster lab here: there is default")
    assert not (home.directory / "state" / "romana-bus" / "lab").exists()


def test_embedded_server_is_started_and_ends(home: Home) -> None:
    result = home.run("ipam", "show")
    assert (result.code, result.err) == (0, "")
    assert "The log has no nodes: start `romana-bus up`" in result.out
    assert (home.directory / "state" / "romana-bus" / "default").is_dir()


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("line", LOOKING[:3])
def test_lines_are_cut_at_the_terminal_width(
    columns: int, line: str, recorded: tuple[str, ...], home: Home
) -> None:
    with home.start_on_terminal(24, columns, *line.split(), *recorded) as looking:
        assert looking.wait().code == 0
        shown = looking.frames[-1].splitlines()
    assert max(map(len, shown)) <= columns
    if line == "ipam show":
        names = [one.split()[0] for one in shown if one.startswith("ip-")]
        assert len(names) == 9
        assert all(name.endswith(".ec2.internal") for name in names)  # not folded


def test_output_in_a_pipe_is_not_folded_or_coloured(recorded: tuple[str, ...], home: Home) -> None:
    for line in LOOKING:
        result = home.run(*line.split(), *recorded)
        assert "\x1b" not in result.out
    table = [line for line in home.run("ipam", "show", *recorded).lines if ".ec2.internal" in line]
    assert len({line.index("us-east-1") for line in table}) == 1


@pytest.mark.parametrize(
    "environment",
    [{"LANG": "C"}, {"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}],
    ids=str,
)
def test_every_output_encoding_works(
    environment: dict[str, str], recorded: tuple[str, ...], home: Home
) -> None:
    result = home.run("topology", "show", *recorded, **environment)
    assert (result.code, result.err) == (0, "")
    assert "us-east-1a  100." in result.out
    if "PYTHONIOENCODING" in environment:
        assert "#.... " in result.out
    assert home.run("--help", **environment).code == 0


def test_reader_may_close_the_output(recorded: tuple[str, ...], home: Home) -> None:
    options = " ".join(recorded)
    for line in (
        "events tail --all --no-follow",
        "events tail --all",
        "events tail --all --subject kube.leader",
        "ipam show",
        "status",
    ):
        result = home.shell(f"romana-bus {line} {options} | head -1")
        assert (result.code, result.err, len(result.lines)) == (0, "", 1), line


def test_unwritable_output_is_reported(recorded: tuple[str, ...], home: Home) -> None:
    options = " ".join(recorded)
    for line in LOOKING[2:]:
        result = home.shell(f"romana-bus {line} {options} > /dev/full")
        result.complains(1, "the output cannot be written: No space left on device")
    for closed in (">&-", ">&- 2>&- <&-"):
        assert home.shell(f"romana-bus status {options} {closed}").code == 0, closed
