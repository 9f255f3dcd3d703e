"""Topology files that are no good: refused whole, with every reason at its place, exit code 2, and nothing
changed. No server is needed to say so."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.ipam.cluster import topology

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Done

LEAF: dict[str, Any] = {"groups": []}


@pytest.fixture
def bad(tmp_path: Path, call: Call) -> Any:
    """What `topology set` says of a file, and `ipam simulate` too: each reason, without what is in front
    of it."""

    def errors(content: str | dict[str, Any]) -> list[str]:
        path, ops = tmp_path / "topology", tmp_path / "ops"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        ops.touch()
        refused = call("topology", "set", str(path))
        assert (refused.code, refused.out) == (2, "")
        simulated = call("ipam", "simulate", "--topology", str(path), "--ops", str(ops))
        assert (simulated.code, simulated.err) == (2, refused.err)
        return reasons(refused, path)

    return errors


def reasons(errors: Done, path: Path) -> list[str]:
    start = re.compile(rf"romana-bus: {re.escape(str(path))}(:\d+)?: ")
    lines = errors.err.splitlines()
    assert all(start.match(line) for line in lines), errors.err
    return [start.sub("", line) for line in lines]


@pytest.fixture
def good(tmp_path: Path, call: Call) -> Any:
    """Prefixes of a network's groups, by `ipam simulate`."""

    def split(document: dict[str, Any]) -> list[str]:
        path, ops = tmp_path / "topology.json", tmp_path / "ops"
        path.write_text(json.dumps(document))
        ops.touch()
        errors = call("ipam", "simulate", "--topology", str(path), "--ops", str(ops))
        assert (errors.code, errors.err) == (0, "")
        return [group["cidr"] for group in errors.json["tree"]["net"].get("groups", ())]

    return split


def test_all_errors_of_one_document(bad: Any) -> None:
    """Everything that the issue of bad input names, at once."""
    document = {
        "networks": [
            {"name": "a", "cidr": "10.0.0.0/16", "block_mask": 28},
            {"name": "inside", "cidr": "10.0.4.0/24"},
            {"name": "bits", "cidr": "10.1.0.5/24"},
            {"name": "mask", "cidr": "10.2.0.0/24", "block_mask": 20},
            {"name": "large", "cidr": "10.3.0.0/28", "block_mask": 29},
            {"name": "inside", "cidr": "10.4.0.0/24"},
        ],
        "topologies": [
            {"networks": ["a", "unknown"], "map": [LEAF]},
            {"networks": ["a"], "map": [{"groups": [{"name": "h", "ip": "192.0.2.1"}, {"name": "g"}]}]},
            {"networks": ["large"], "map": [LEAF, LEAF, LEAF]},
        ],
    }
    assert bad(document) == [
        "networks[2].cidr: '10.1.0.5/24' has host bits set: write 10.1.0.0/24",
        "networks[3].block_mask: 20: blocks of 10.2.0.0/24 can have a length of 24 to 32",
        "networks[5].name: network 'inside' is defined already",
        "networks[1].cidr: 10.0.4.0/24 overlaps with 10.0.0.0/16 of network 'a'",
        "topologies[0].networks[1]: network 'unknown' is not defined",
        "topologies[1].map[0].groups[1]: hosts and groups cannot share a list",
        "topologies[1].networks[0]: network 'a' has a map already",
        "networks[4].block_mask: blocks of /29 do not fit into group '0', 10.3.0.0/30, nor into 2 others",
    ]


def test_duplicate_key_is_reported_with_the_other_errors(bad: Any) -> None:
    """The last one would win, in silence."""
    twice = "this key is given more than once"
    text = (
        '{"networks":[{"name":"net","cidr":"10.0.0.0/24","cidr":"10.0.0.1/24"}],"topologies":[],'
        '"topologies":[{"networks":["net"],"map":[{"assignment":{"a":"1","a":"1"}}]}]}'
    )
    wrong = "networks[0].cidr: '10.0.0.1/24' has host bits set: write 10.0.0.0/24"
    places = ["topologies", "networks[0].cidr", "topologies[0].map[0].assignment.a"]
    assert bad(text) == [*(f"{place}: {twice}" for place in places), wrong]
    text = (
        "networks:\n- name: net\n  cidr: 10.0.0.0/24\n  cidr: 10.0.0.1/24\n"
        'topologies: [{networks: [net], map: [{assignment: {1: a, "1": b}}]}]\n'
    )
    assert bad(text) == [
        f"networks[0].cidr: {twice} (line 4)",
        f"topologies[0].map[0].assignment.1: {twice} (line 5)",
        wrong,
    ]


@pytest.mark.parametrize(
    ("field", "value", "part"),
    [
        ("block_mask", "28", "'28': blocks of 10.0.0.0/24 can have a length of 24 to 32"),
        ("block_mask", True, "true: blocks of"),
        ("block_mask", False, "false: blocks of"),
        ("block_mask", 28.0, "28.0: blocks of"),
        ("block_mask", "", "'': blocks of"),
        ("block_mask", [], "[]: blocks of"),
        ("block_mask", -1, "-1: blocks of"),
        ("block_mask", 10**40, ": blocks of"),
        ("cidr", None, "a network needs its CIDR"),
        ("cidr", "", "a network needs its CIDR"),
        ("cidr", 10, "10 is not a CIDR: write it like 10.0.0.0/16"),
        ("cidr", ["10.0.0.0/8"], '["10.0.0.0/8"] is not a CIDR'),
        ("cidr", "10.0.0.0", "'10.0.0.0' is not a CIDR"),
        ("cidr", "10.0.0.0/33", "'10.0.0.0/33' is not a CIDR"),
        ("cidr", "10.0.0.0/8 ", "'10.0.0.0/8 ' is not a CIDR"),
        ("cidr", " 10.0.0.0/8", "' 10.0.0.0' is not an IP address"),
        ("cidr", "010.0.0.0/8", "'010.0.0.0' is not an IP address"),
        ("cidr", "10.0.0.0/08", "'10.0.0.0/08' is not a CIDR"),
        ("cidr", "10.0.0.0/٨", "is not a CIDR"),
        ("cidr", "10.0.0.0/255.0.0.0", "is not a CIDR"),
        ("cidr", "10.0.0.0/" + "9" * 5_000, "'10.0.0.0/9999999999"),
        ("cidr", "a\0b/8", "'a\\x00b' is not an IP address"),
        ("cidr", "fe80::1%eth0/64", "is not an IP address"),
        ("cidr", "::ffff:10.0.0.0/104", "'::ffff:10.0.0.0/104' contains IPv4 addresses: write 10.0.0.0/8"),
        ("name", None, "a network needs a name"),
        ("name", "", "a network needs a name"),
        ("name", 5, "a network needs a name"),
        ("tenants", "web", "a list of namespaces is expected"),
        ("tenants", "", "a list of namespaces is expected"),
        ("tenants", {}, "a list of namespaces is expected"),
        ("tenants", [None], "a list of namespaces is expected"),
        ("tenants", ["a b"], "a list of namespaces is expected"),
        ("wishes", [], "a map is expected, with some of: fixed, sticky, max_per_namespace, max_retention"),
    ],
    ids=map(str, itertools.count()),  # the values are none that an id may have
)
def test_invalid_network(field: str, value: Any, part: str, bad: Any) -> None:
    """And what is nothing in one language is not taken for nothing in another."""
    document = topology("10.0.0.0/24", 30)
    document["networks"][0][field] = value
    first = bad(document)[0]
    assert first.startswith(f"networks[0].{field}: ")
    assert part in first
    assert len(first) < 200


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("fixed", "web", 'a list of namespaces, or ["*"] for all, is expected'),
        ("sticky", ["web", None], 'a list of namespaces, or ["*"] for all, is expected'),
        ("sticky", ["we*"], 'a list of namespaces, or ["*"] for all, is expected'),
        ("max_per_namespace", -1, "a number from 0 to 16,777,216 is expected"),
        ("max_per_namespace", True, "a number from 0 to 16,777,216 is expected"),
        ("max_per_namespace", "16", "a number from 0 to 16,777,216 is expected"),
        ("max_retention", 60, "a time such as 90s, 10m, 2h or 7d, a year at most, is expected"),
        ("max_retention", "366d", "a time such as 90s, 10m, 2h or 7d, a year at most, is expected"),
        ("max_retention", "true", "a time such as 90s, 10m, 2h or 7d, a year at most, is expected"),
        ("max_broken_blocks", 10, "a percentage from 0% to 100%, with the sign, is expected"),
        ("max_broken_blocks", "101%", "a percentage from 0% to 100%, with the sign, is expected"),
        ("max_pods", 1, "is unknown; there is: fixed, sticky, max_per_namespace, max_retention, max_broken"),
    ],
)
def test_invalid_limits_of_fixed_and_sticky_addresses(key: str, value: Any, part: str, bad: Any) -> None:
    document = topology("10.0.0.0/24", 30)
    document["networks"][0]["wishes"] = {key: value, "max_retention ": 1}
    first, second = bad(document)
    assert first.startswith(f"networks[0].wishes.{key}: {part}")
    assert second.startswith("networks[0].wishes.max_retention : is unknown")


@pytest.mark.parametrize(
    ("group", "place", "part"),
    [
        (5, "", "a group is an object with `groups`"),
        ({"name": 5}, ".name", "a name is a string"),
        ({"name": False}, ".name", "a name is a string"),
        ({"groups": {}}, ".groups", "a list is expected"),
        ({"groups": "", "name": "x"}, ".groups", "a list is expected"),
        ({"groups": [None]}, ".groups[0]", "a group is an object with `groups`"),
        ({"assignment": []}, ".assignment", "labels and their values, all strings, are expected"),
        ({"assignment": {"zone": 1}}, ".assignment", "labels and their values, all strings, are expected"),
        ({"hosts": [], "groups": []}, ".hosts", "hosts are listed in `groups`, as {name, ip}"),
        ({"groups": [LEAF, {"name": "h", "ip": "192.0.2.1"}]}, ".groups[1]", "and not beside groups"),
        ({"groups": [{"name": "h", "ip": "192.0.2.1"}, LEAF]}, ".groups[1]", "cannot share a list"),
        ({"groups": [{"name": "h", "ip": "192.0.2.1", "groups": [LEAF]}]}, ".groups[0]", "cannot share"),
        ({"groups": [{"name": "h", "ip": "192.0.2.256"}]}, ".groups[0].ip", "is not an IP address"),
        ({"groups": [{"ip": "192.0.2.1"}]}, ".groups[0].name", "a host needs the name of its node"),
        ({"groups": [LEAF] * 300}, "", "300 groups do not fit into 10.0.0.0/24"),
        ({"groups": [LEAF], "slots": 0}, ".slots", "0: a power of two is expected, 65,536 at most"),
        ({"groups": [LEAF] * 3, "slots": 2}, ".slots", "3 groups do not fit into 2 slots"),
        ({"groups": [LEAF | {"slot": 9}, LEAF]}, ".groups[0].slot", "has slots 0 to 1: set `topologies"),
        ({"groups": [LEAF | {"slot": 1}]}, ".groups[0].slot", "has one slot, 0: set `topologies"),
        ({"groups": [LEAF | {"slot": 0}] * 2}, ".groups[1].slot", "slot 0 is used by topologies[0].map[0]"),
    ],
    ids=map(str, itertools.count()),  # the values are none that an id may have
)
def test_invalid_group(group: Any, place: str, part: str, bad: Any) -> None:
    document = topology("10.0.0.0/24", 32)
    document["topologies"][0]["map"] = [group]
    (errors,) = bad(document)
    assert errors.startswith(f"topologies[0].map[0]{place}: ")
    assert part in errors


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("networks: [", "neither JSON nor YAML: "),
        ("[1, 2]", "an object with `networks` and `topologies` is expected"),
        ("", "an object with `networks` and `topologies` is expected"),
        ("5", "an object with `networks` and `topologies` is expected"),
        ("x" * 20_000_000, "larger than 900,000 bytes, the most that a topology may have"),
        ('{"networks":' * 1_000 + "1" + "}" * 1_000, "nested too deeply"),
        ('{"networks": [], "x": ' + "[" * 200 + "]" * 200 + "}", "nested too deeply"),
        ("a: " * 1_000, "neither JSON nor YAML: "),
        ("a:\n" + "".join(f"{' ' * at}- \n" for at in range(1, 300)), "nested too deeply"),
    ],
    ids=map(str, itertools.count()),
)
def test_file_without_a_document(content: str, part: str, bad: Any) -> None:
    (errors,) = bad(content)
    assert part in errors


def test_overlapping_networks_are_reported_once_each(bad: Any) -> None:
    """However many there are: 5,000 of one CIDR are 12 million pairs."""
    names = [f"n{at}" for at in range(5_000)]
    document = {
        "networks": [{"name": name, "cidr": "10.0.0.0/8"} for name in names],
        "topologies": [{"networks": names, "map": [LEAF]}],
    }
    errors = bad(document)
    assert len(errors) == 4_999
    assert errors[0] == "networks[1].cidr: 10.0.0.0/8 overlaps with 10.0.0.0/8 of network 'n0'"


def test_too_many_groups(bad: Any) -> None:
    """One map for many networks is split in each of them."""
    names = [f"n{at}" for at in range(1_000)]
    document = {
        "networks": [{"name": name, "cidr": f"fd00:{at:x}::/32"} for at, name in enumerate(names)],
        "topologies": [{"networks": names, "map": [LEAF] * 2_000}],
    }
    assert bad(document) == ["topologies: 2,001,000 groups in all networks: 1,048,576 at most"]


def test_unusual_documents_that_are_valid(good: Any) -> None:
    assert good(topology("10.0.0.0/16", 28, {"name": "same"}, {"name": "same"})) == [
        "10.0.0.0/17",
        "10.0.128.0/17",
    ]
    assert good(topology("10.0.0.0/16", 28, {"name": "a/b"}, {"name": "/"}, {"name": ""})) == [
        "10.0.0.0/18", "10.0.64.0/18", "10.0.128.0/18", "10.0.192.0/18",
    ]  # fmt: skip
    nothing = {"name": None, "groups": None, "assignment": None, "routing": None}
    document = topology("10.0.0.0/16", 28, nothing)
    document["networks"][0] |= {"tenants": None, "block_mask": None}
    assert good(document) == []
    assert len(good(topology("10.0.0.0/8", 32, *[{}] * 20_000))) == 1 << 15
