"""`topology apply`, `set` and `show`: a document goes in whole or not at all."""

from __future__ import annotations

import itertools
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

from tests.cli.api import ApiThread
from tests.cli.logs import begun
from tests.identities import log_options

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

_clusters = itertools.count(1)

ZONES: dict[str, Any] = {
    "networks": [{"name": "pods", "cidr": "10.8.0.0/16", "block_mask": 28}],
    "topologies": [
        {
            "networks": ["pods"],
            "map": [
                {"name": name, "assignment": {"topology.kubernetes.io/zone": name}, "groups": []}
                for name in ("zone-a", "zone-b", "zone-c")
            ],
        }
    ],
}


def settled(document: dict[str, Any], slots: int = 4) -> dict[str, Any]:
    """As it is stored: with every group's slot."""
    (tree,) = document["topologies"]
    groups = [group | {"slot": at} for at, group in enumerate(tree["map"])]
    return document | {"topologies": [tree | {"map": groups, "slots": slots}]}


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    """The options that reach a log on which nothing is."""
    return log_options(nats_server.url, f"topology{next(_clusters)}")


@pytest.fixture
def zones(tmp_path: Path) -> str:
    path = tmp_path / "zones.json"
    path.write_text(json.dumps(ZONES))
    return str(path)


def stored(call: Call, log: tuple[str, ...]) -> Any:
    """The topologies that were ever set."""
    result = call("events", "tail", "--subject", "spec.topology", "--all", "--no-follow", "--json", *log)
    return [one["event"]["document"] for one in result.json_lines]


def test_set_and_show(zones: str, log: tuple[str, ...], call: Call) -> None:
    result = call("topology", "set", zones, *log)
    assert result.code == 0
    assert "topology set" in result.out
    shown = call("topology", "show", *log)
    for part in ("zone-a  10.8.0.0/18", "zone-b  10.8.64.0/18", "topology.kubernetes.io/zone=zone-c"):
        assert part in result.out
        assert part in shown.out
    assert "kept for later groups: 1 prefix (10.8.192.0/18)" in shown.out
    document = call("topology", "show", "--json", *log).json
    assert document["document"] == settled(ZONES)
    assert [group["prefix"] for group in document["networks"][0]["groups"] if group["leaf"]] == [
        "10.8.0.0/18",
        "10.8.64.0/18",
        "10.8.128.0/18",
    ]


def test_set_twice_is_set_once(zones: str, log: tuple[str, ...], call: Call) -> None:
    assert call("topology", "set", zones, "--json", *log).json["changed"] is True
    assert call("topology", "set", zones, "--json", *log).json["changed"] is False
    assert "unchanged: this topology was set already" in call("topology", "set", zones, *log).out
    assert len(stored(call, log)) == 1


def test_yaml_from_standard_input_is_stored_as_json_has_it(
    log: tuple[str, ...], home: Home, call: Call
) -> None:
    text = (
        "# dates are text in JSON\n"
        "comment: 2026-01-02\n"
        "networks: [{name: pods, cidr: 10.8.0.0/16, block_mask: 28}]\n"
        "topologies: [{networks: [pods], map: [{name: all, groups: []}]}]\n"
    )
    for changed in (True, False):
        result = home.run("topology", "set", "-", "--json", *log, stdin=text)
        assert result.json["changed"] is changed, result
    assert stored(call, log)[0]["comment"] == "2026-01-02"


def test_default_topology_is_shown_with_how_to_set_one(log: tuple[str, ...], call: Call) -> None:
    begun(log[1], log[3])
    result = call("topology", "show", *log)
    assert result.code == 0
    assert "No topology is set: each value of the nodes' label topology.kubernetes.io/zone gets" in result.out
    assert "romana-bus topology apply FILE" in result.out
    assert call("topology", "show", "--json", *log).json["document"] is None


def test_all_errors_are_reported_and_nothing_is_stored(
    tmp_path: Path, log: tuple[str, ...], call: Call
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "networks: [{name: 1, cidr: x}, {name: b, cidr: 10.0.0.0/8, block_mask: 99}]\n"
        "topologies: [{networks: [z], map: 4}]\n"
    )
    result = call("topology", "set", str(path), *log)
    assert (result.code, result.out) == (2, "")
    lines = result.err.splitlines()
    places = ("1: networks[0].name", "1: networks[0].cidr", "1: networks[1].block_mask")
    for place in (*places, "2: topologies[0].map", "2: topologies[0].networks[0]"):
        assert any(line.startswith(f"romana-bus: {path}:{place}: ") for line in lines), place
    assert stored(call, log) == []


def test_invalid_topology_leaves_the_valid_one(
    zones: str, tmp_path: Path, log: tuple[str, ...], call: Call
) -> None:
    call("topology", "set", zones, *log)
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(ZONES | {"topologies": []}))
    assert call("topology", "set", str(path), *log).code == 2
    assert stored(call, log) == [settled(ZONES)]


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"a: &a [1]\nb: [*a, *a]\n", "YAML aliases are not supported: write the value out"),
        (b"\0" * 20_000_000, "larger than 900,000 bytes"),
        (bytes(range(256)), "not UTF-8 text"),
        (b"networks: [", "neither JSON nor YAML: "),
        (b"a: b\n---\nc: d\n", "neither JSON nor YAML: expected a single document"),
        (b"a: !!python/object:os.system x\n", "could not determine a constructor"),
        (b"? [1]\n: 2\n", "found unhashable key"),
        (b"a: 2001-99-99\n", "neither JSON nor YAML: month must be in 1..12"),
        (b"a: " + b"9" * 100_000 + b"\n", "neither JSON nor YAML: "),
        (b'a: "\\ud800"\n', "neither JSON nor YAML: "),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a": ' * 2000 + b"1" + b"}" * 2000, "nested too deeply"),
        (b"", "an object with `networks` and `topologies` is expected"),
        (b"just words\n", "an object with `networks` and `topologies` is expected"),
    ],
    ids=lambda value: value[:12].decode(errors="replace") if isinstance(value, bytes) else "",
)
def test_file_without_a_document(content: bytes, part: str, tmp_path: Path, call: Call) -> None:
    path = tmp_path / "topology"
    path.write_bytes(content)
    call("topology", "set", str(path)).complains(2, f"{path}:", part)


def test_path_that_is_not_a_file(tmp_path: Path, home: Home, call: Call) -> None:
    call("topology", "set", str(tmp_path)).complains(2, f"{tmp_path}: Is a directory")
    call("topology", "set", "/dev/zero").complains(2, "larger than 900,000 bytes")
    home.run("topology", "set", "-", stdin=b"\xff").complains(2, "-: not UTF-8 text")
    if os.geteuid():
        secret = tmp_path / "secret"
        secret.touch(mode=0)
        call("topology", "set", str(secret)).complains(2, f"{secret}: Permission denied")


def test_names_are_shown_as_they_are(tmp_path: Path, log: tuple[str, ...], call: Call) -> None:
    path = tmp_path / "odd.json"
    group: dict[str, Any] = {"name": "[bold]:smile:[nope]", "groups": []}
    path.write_text(json.dumps(ZONES | {"topologies": [{"networks": ["pods"], "map": [group]}]}))
    for result in (call("topology", "set", str(path), *log), call("ipam", "show", *log)):
        assert result.code == 0
        assert group["name"] in result.out


def test_refused_while_a_running_pod_would_lose_its_address(
    zones: str, tmp_path: Path, log: tuple[str, ...], home: Home, call: Call
) -> None:
    """Nor does a node that is in a zone become unwelcome there."""
    with ApiThread() as api:
        api.node("n1", "zone-a", "192.0.2.1")
        api.pod("api-0", "n1")
        call("topology", "set", zones, *log)
        with home.start("up", "--server", api.server.url, "--plain", *log) as up:
            up.until(lambda: "web/api-0 gets 10.8.0." in up.out, "an address")
            path = tmp_path / "elsewhere.json"
            path.write_text(json.dumps(ZONES).replace("10.8.0.0", "10.9.0.0"))
            result = call("topology", "set", str(path), *log)
            result.complains(2, "not set: the address of 1 running pod would", "web/api-0 (10.8.0.", "on n1)")
            path.write_text(json.dumps(ZONES).replace("zone-a", "zone-x"))
            call("topology", "set", str(path), *log).complains(2, "web/api-0")
            assert up.stop().code == 0
    assert stored(call, log) == [settled(ZONES)]


def test_up_accepts_a_topology(zones: str, log: tuple[str, ...], home: Home, call: Call) -> None:
    with ApiThread() as api:
        api.node("n1", "zone-b", "192.0.2.1")
        api.pod("api-0", "n1")
        arguments = ("--topology", zones, "--server", api.server.url, "--plain", *log)
        with home.start("up", *arguments) as up:
            up.until(lambda: "web/api-0 gets 10.8.64." in up.out, "an address of its zone")
    assert stored(call, log) == [settled(ZONES)]
    result = call("up", "--topology", "/none", "--server", "http://127.0.0.1:1", *log)
    result.complains(2, "/none: No such file")
