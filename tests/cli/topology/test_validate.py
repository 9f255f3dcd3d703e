"""`topology validate`: every error of a file at once, each with its line; no server, and no store."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.cli.common.positions import Unreadable, parse

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home

BAD: dict[str, Any] = {
    "networks": [
        {"name": "a", "cidr": "10.0.0.5/24", "block_mask": 28},
        {"name": "a", "cidr": "10.0.0.0/8"},
    ],
    "topologies": [
        {
            "networks": ["a", "nowhere"],
            "map": [{"name": "x", "slot": 1}, {"name": "y", "slot": 1}],
        }
    ],
}

YAML = """\
networks:
# a comment
- name: a
  cidr: 10.0.0.5/24
  block_mask: 28
- {name: a, cidr: 10.0.0.0/8}
topologies:
- networks:
  - a
  - nowhere
  map:
  - name: x
    slot: 1
  - name: y
    slot:
      1
"""


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (json.dumps(BAD, indent=1), (5, 9, 17, 26)),
        (json.dumps(BAD, indent="\t"), (5, 9, 17, 26)),
        ("\ufeff" + json.dumps(BAD), (1, 1, 1, 1)),
        (YAML, (4, 6, 10, 15)),
    ],
    ids=["json", "tabs", "one line", "yaml"],
)
def test_every_error_with_its_line(text: str, lines: tuple[int, ...], tmp_path: Path, call: Call) -> None:
    path = tmp_path / "bad"
    path.write_text(text)
    places = (
        "networks[0].cidr",
        "networks[1].name",
        "topologies[0].networks[1]",
        "topologies[0].map[1].slot",
    )
    result = call("topology", "validate", str(path))
    assert (result.code, result.err) == (2, "")
    expected = {f"{path}:{line}: {place}" for line, place in zip(lines, places, strict=True)}
    assert {line[: line.index(": ", len(str(path)) + 5)] for line in result.lines} >= expected
    assert len(result.lines) == len(expected)
    found = call("topology", "validate", "--json", str(path))
    assert found.code == 2
    assert {(one["line"], one["place"], one["severity"]) for one in found.json} == {
        (line, place, "error") for line, place in zip(lines, places, strict=True)
    }
    assert all(one["kind"] and one["text"] for one in found.json)


def test_valid_topology_shows_its_groups(tmp_path: Path, home: Home) -> None:
    path = tmp_path / "good.yaml"
    path.write_text(
        "networks: [{name: net, cidr: 10.0.0.0/16, block_mask: 28}]\n"
        "topologies:\n- networks: [net]\n  slots: 8\n  map:\n"
        "  - {name: a, groups: [{name: n1, ip: 192.0.2.1}]}\n"
        "  - {name: b, groups: [{name: r1}, {name: r2}]}\n"
    )
    result = home.run("topology", "validate", str(path))
    assert result.code == 0, result
    assert result.lines == [
        "no errors: 1 network",
        "network net  10.0.0.0/16: 3 groups for nodes, blocks of 16 addresses",
        "  fixed and sticky addresses: fixed for everyone; sticky for everyone; 16 per namespace; kept for "
        "1h at most; 10% of a group's blocks broken up at most",
        "  group a  10.0.0.0/19: 512 blocks, so at most as many nodes, 1 node listed",
        "  group b/r1  10.0.32.0/20: 256 blocks, so at most as many nodes",
        "  group b/r2  10.0.48.0/20: 256 blocks, so at most as many nodes",
        "  its own level: 6 of 8 slots free",
        "  level b: 0 of 2 slots free: it has to grow for another group",
    ]
    assert home.run("topology", "validate", "--json", str(path)).json == []
    assert home.run("topology", "validate", "-", stdin=path.read_text()).lines == result.lines
    assert home.left() == []


def test_unusual_settings_are_warnings(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text(
        "networks: [{name: net, cidr: 10.0.0.0/16}]\n"
        "topologies:\n- networks: [net]\n  map:\n"
        "  - groups:\n    - {name: n1, ip: 192.0.2.1}\n    - {name: n1, ip: 192.0.2.2}\n"
    )
    result = call("topology", "validate", str(path))
    assert (result.code, result.err) == (0, "")
    assert result.lines[0].startswith(
        f"{path}:7: topologies[0].map[0].groups[1]: warning: n1 is listed earlier"
    )
    assert result.lines[1] == "no errors: 1 network"
    (one,) = call("topology", "validate", "--json", str(path)).json
    assert (one["line"], one["severity"], one["kind"]) == (7, "warning", "repeated_host")


def test_unreadable_file(tmp_path: Path, call: Call) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("networks:\n- name: a\n  cidr: [1\n")
    result = call("topology", "validate", str(path))
    assert (result.code, result.err) == (2, "")
    assert result.out.startswith(f"{path}:4: neither JSON nor YAML: ")
    (one,) = call("topology", "validate", "--json", str(path)).json
    assert (one["line"], one["kind"], one["severity"]) == (4, "bad_document", "error")
    path.write_bytes(b"\xff")
    (one,) = call("topology", "validate", "--json", str(path)).json
    assert (one["line"], one["text"]) == (None, "not UTF-8 text (byte 0)")
    call("topology", "validate", "--nope").complains(2, "unknown option: --nope")


def test_validate_help(call: Call) -> None:
    result = call("topology", "validate", "--help")
    assert "--json" in result.out
    assert "--live" in result.out
    assert "Usage: romana-bus topology validate" in result.out


@pytest.mark.parametrize("text", ["", "- a", "a: b: c", "[" * 3000, '{"networks": 4}', "? [1]\n: 2\n"])
def test_error_without_a_known_line(text: str) -> None:
    with contextlib.suppress(Unreadable):
        assert parse(text).root.line_of("networks[3].cidr") in (0, 1)
