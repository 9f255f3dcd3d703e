"""`ipam simulate` as a user meets it: what it reads, what it prints, and what it says of files that are no
good. What comes of operations is in tests/ipam/simulate."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home

DOCUMENT = {
    "networks": [{"name": "net", "cidr": "10.0.0.0/30", "block_mask": 31}],
    "topologies": [{"networks": ["net"], "map": [{"groups": [{"name": "n1", "ip": "192.0.2.1"}]}]}],
}
OPS = """\
{"op":"allocate","name":"a","host":"n1","tenant":"web","segment":"s"}
{"op":"allocate","name":"a","host":"n1"}

{"op":"deallocate","name":"a","ok":true,"error":"what somebody expected is not looked at"}\r
"""
PRINTED = """\
{"ok":true,"result":"10.0.0.0"}
{"ok":false,"error_kind":"exists","message":"a has an address already: 10.0.0.0"}
{"ok":true}
{"tree":{"net":{"cidr":"10.0.0.0/30","hosts":["n1"]}},"blocks":{"net":[{"cidr":"10.0.0.0/31","host":"",\
"tenant":"","segment":"","allocated_ip_count":0}]},"addresses":{}}
"""


@pytest.fixture
def topology(tmp_path: Path) -> str:
    path = tmp_path / "topology.json"
    path.write_text(json.dumps(DOCUMENT))
    return str(path)


@pytest.fixture
def ops(tmp_path: Path) -> Path:
    path = tmp_path / "ops.jsonl"
    path.write_text(OPS)
    return path


def arguments(topology: Any, ops: Any, cooldown: str = "0") -> tuple[str, ...]:
    return ("ipam", "simulate", "--topology", str(topology), "--ops", str(ops), "--cooldown", cooldown)


def test_a_line_for_each_operation_and_one_for_the_end(topology: str, ops: Path, call: Call) -> None:
    result = call(*arguments(topology, ops), "--block-owner", "segment")
    assert (result.code, result.out, result.err) == (0, PRINTED, "")
    assert call(*arguments(topology, ops), "--block-owner", "segment", "--json").out == PRINTED


def test_one_of_both_from_standard_input(topology: str, ops: Path, home: Home) -> None:
    """And no server is started for it."""
    owner = ("--block-owner", "segment")
    assert home.run(*arguments(topology, "-"), *owner, stdin=OPS).out == PRINTED
    assert home.run(*arguments("-", ops), *owner, stdin=json.dumps(DOCUMENT)).out == PRINTED
    assert home.left() == []
    home.run(*arguments("-", "-")).complains(2, "only one of them can be standard input")


def test_a_byte_order_mark_and_no_operation_at_all(topology: str, ops: Path, call: Call) -> None:
    ops.write_bytes(b"\xef\xbb\xbf" + OPS.encode())
    assert len(call(*arguments(topology, ops)).lines) == 4
    ops.write_bytes(b"")
    assert [list(line) for line in call(*arguments(topology, ops)).json_lines] == [
        ["tree", "blocks", "addresses"]
    ]


def test_options_are_checked(topology: str, ops: Path, call: Call) -> None:
    line = arguments(topology, ops)
    call("ipam", "simulate").complains(2, "--topology", "romana-bus ipam simulate --help")
    call(*arguments(topology, ops, "-1")).complains(2, "--cooldown -1: must be between 0 and")
    call(*line, "--warm-blocks", "99").complains(2, "--warm-blocks 99: must be between 0 and 64")
    call(*line, "--block-owner", "pod").complains(2, "host", "tenant", "segment")
    call(*arguments(topology, "/none")).complains(2, "/none: No such file or directory")
    result = call(*arguments("/none", ops))
    assert (result.code, result.json["error_kind"]) == (2, "bad_document")


def test_bad_topology_has_an_error_kind(tmp_path: Path, ops: Path, call: Call) -> None:
    """On stdout, for programs: one line. On stderr: every reason, those of the other file too."""
    path = tmp_path / "bad.yaml"
    path.write_text(
        "networks: [{name: a, cidr: 10.0.0.0/24, block_mask: 20}, {name: b, cidr: 10.0.0.0/25}]\n"
        "topologies: [{networks: [a, b, a], map: [{groups: []}]}]\n"
    )
    ops.write_text("{}\n")
    result = call(*arguments(path, ops))
    assert result.code == 2
    assert result.json["ok"] is False
    assert result.json["error_kind"] == "bad_block_mask"
    expected = [
        (f"{path}:1", "networks[0].block_mask: 20: blocks of 10.0.0.0/24 can have a length of 24 to 32"),
        (f"{path}:1", "networks[1].cidr: 10.0.0.0/25 overlaps with 10.0.0.0/24 of network 'a'"),
        (f"{path}:2", "topologies[0].networks[2]: network 'a' has a map already"),
        (ops, "line 1: Object missing required field `op`"),
    ]
    assert result.err.splitlines() == [f"romana-bus: {file}: {text}" for file, text in expected]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("nonsense", "not a JSON object: JSON is malformed"),
        ("[]", "Expected `object`, got `array`"),
        ("{}", "Object missing required field `op`"),
        (
            '{"op":"delete","name":"a"}',
            "Invalid value 'delete' - at `$.op`: one of allocate, deallocate, add_h",
        ),
        ('{"op":"allocate","host":"n1"}', "Object missing required field `name`"),
        ('{"op":"allocate","name":"a"}', "Object missing required field `host`"),
        ('{"op":"allocate","name":"","host":"n1"}', "Expected `str` of length >= 1 - at `$.name`"),
        ('{"op":"allocate","name":1,"host":"n1"}', "Expected `str`, got `int` - at `$.name`"),
        ('{"op":"allocate","name":"a","host":"n1","tenant":"a/b"}', "at `$.tenant`"),
        ('{"op":"allocate","name":"a","name":"b","host":"n1"}', "name: this key is given more than once"),
        ('{"op":"deallocate"}', "Object missing required field `name`"),
        ('{"op":"add_host","name":"n2","ip":"x"}', "'x' is not an IP address"),
        ('{"op":"add_host","name":"n2","tags":{"a":1}}', "Expected `str`, got `int` - at `$.tags[...]`"),
        ('{"op":"remove_host"}', "a host needs its `name` or its `ip`"),
        ('{"op":"update_labels","tags":{}}', "a host needs its `name` or its `ip`"),
        ('{"op":"blackout"}', "Object missing required field `cidr`"),
        ('{"op":"unblackout","cidr":null}', "Expected `str`, got `null` - at `$.cidr`"),
        ('{"op":"update_topology"}', "Object missing required field `topology`"),
        ('{"op":"update_topology","topology":[]}', "Expected `object`, got `array` - at `$.topology`"),
        ('{"op":"update_topology","topology":' + '{"a":' * 5_000, "nested too deeply"),
        ('{"op":"update_topology","topology":{"a":' + "[" * 500 + "]" * 500 + "}}", "nested too deeply"),
        ("[" * 5_000, "Expected `object`, got `array`"),
        ("\0", "not a JSON object: JSON is malformed"),
        ('{"op":"deallocate","name":"\\ud800"}', "not a JSON object: "),
        ('{"op":"deallocate","name":"' + "x" * 1_000_000 + '"}', "longer than 1,000,000 bytes"),
    ],
    ids=lambda value: value[:25],
)
def test_one_bad_line_stops_the_whole_simulation(
    line: str, part: str, topology: str, ops: Path, call: Call
) -> None:
    ops.write_text(f"{OPS}{line}\n")
    call(*arguments(topology, ops)).complains(2, f"{ops}: line 5: ", part)


def test_bad_lines_are_all_reported_up_to_a_limit(topology: str, ops: Path, call: Call) -> None:
    ops.write_text('x\n\n{"op":"deallocate"}\n')
    result = call(*arguments(topology, ops))
    assert [line.split(":")[2] for line in result.err.splitlines()] == [" line 1", " line 3"]
    ops.write_bytes(b"\xff\n" * 100_000)
    result = call(*arguments(topology, ops))
    assert (result.code, result.out, len(result.err.splitlines())) == (2, "", 51)
    assert result.err.endswith(f"{ops}: and 99,950 more wrong lines\n")


def test_endless_input(topology: str, home: Home) -> None:
    home.run(*arguments(topology, "/dev/zero")).complains(2, "/dev/zero: larger than 64,000,000 bytes")


def test_twenty_megabytes_are_played(topology: str, ops: Path, call: Call) -> None:
    """Of long names, so that it is soon over."""
    line = json.dumps({"op": "deallocate", "name": "x" * 500_000}) + "\n"
    ops.write_text(line * 40)
    result = call(*arguments(topology, ops))
    assert {one["error_kind"] for one in result.json_lines[:-1]} == {"not_found"}


def test_unusual_names_are_accepted(topology: str, ops: Path, call: Call) -> None:
    names = ["a/b", "a\0b", "é", "[bold]", " ", "*", "a.b", "{}"]
    lines = [{"op": "add_host", "name": name, "ip": f"192.0.2.{at + 5}"} for at, name in enumerate(names)]
    lines += [
        {"op": "allocate", "name": name, "host": name, "tenant": "*", "segment": name} for name in names
    ]
    lines += [{"op": "deallocate", "name": name} for name in names[:2]]
    ops.write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = call(*arguments(topology, ops), "--block-owner", "segment")
    assert [line["ok"] for line in result.json_lines[8:10]] == [True, True]
    assert result.json_lines[-1]["tree"]["net"]["hosts"] == ["n1", *names]


def test_output_closed_early(topology: str, ops: Path, home: Home) -> None:
    ops.write_text(OPS * 20_000)
    line = " ".join(arguments(topology, ops))
    result = home.shell(f"romana-bus {line} | head -1")
    assert (result.code, result.out, result.err) == (0, '{"ok":true,"result":"10.0.0.0"}\n', "")
