"""Networks that no pod can use are refused, in a file and by `--network`; one for documentation is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from romana_bus.ipam.topology.document import parse
from tests.ipam.cluster import topology

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Done


@pytest.mark.parametrize(
    ("cidr", "part"),
    [
        ("0.0.0.0/8", "0.0.0.0/8 (unspecified)"),
        ("0.1.0.0/16", "0.0.0.0/8 (unspecified)"),
        ("0.0.0.0/0", "0.0.0.0/8 (unspecified)"),
        ("127.0.0.0/8", "127.0.0.0/8 (loopback)"),
        ("127.16.0.0/16", "127.0.0.0/8 (loopback)"),
        ("126.0.0.0/7", "127.0.0.0/8 (loopback)"),
        ("169.254.0.0/16", "169.254.0.0/16 (link-local)"),
        ("169.254.1.0/24", "169.254.0.0/16 (link-local)"),
        ("224.0.0.0/4", "224.0.0.0/4 (multicast)"),
        ("239.1.0.0/16", "224.0.0.0/4 (multicast)"),
        ("255.255.0.0/16", "255.255.255.255/32 (broadcast)"),
        ("240.0.0.0/4", "255.255.255.255/32 (broadcast)"),
        ("::/0", "::/127 (unspecified and loopback)"),
        ("::/64", "::/127 (unspecified and loopback)"),
        ("fe80::/10", "fe80::/10 (link-local)"),
        ("fe80::/64", "fe80::/10 (link-local)"),
        ("febf::/16", "fe80::/10 (link-local)"),
        ("ff00::/8", "ff00::/8 (multicast)"),
        ("ff05::/32", "ff00::/8 (multicast)"),
        ("::fffe:0:0/95", "::ffff:0.0.0.0/96 (IPv4"),
    ],
)
def test_refused(cidr: str, part: str, call: Call, tmp_path: Path) -> None:
    document = topology(cidr, 128 if ":" in cidr else 32)
    file = tmp_path / "topology.json"
    file.write_text(json.dumps(document))
    for command in ("set", "plan", "apply", "validate"):
        refused = call("topology", command, str(file))
        assert refused.code == 2
        assert f"networks[0].cidr: {cidr} contains addresses of {part}" in refused.err + refused.out
    refused = call("run", "ipam", "--network", cidr)
    assert refused.code == 2
    assert f"--network {cidr}: contains addresses of {part}" in refused.err
    assert parse(document).networks  # where it is on the log already, no restart takes it away


@pytest.mark.parametrize("cidr", ["240.0.0.0/5", "10.0.0.0/8", "100.64.0.0/10", "fd00::/8", "2000::/3"])
def test_taken(cidr: str, call: Call, tmp_path: Path) -> None:
    assert validated(cidr, call, tmp_path).code == 0


@pytest.mark.parametrize(
    "cidr", ["192.0.2.0/24", "198.51.100.0/25", "203.0.112.0/23", "2001:db8:7::/48", "3fff::/20"]
)
def test_told(cidr: str, call: Call, tmp_path: Path) -> None:
    answer = validated(cidr, call, tmp_path)
    assert answer.code == 0
    assert f"warning: {cidr} contains addresses of" in answer.out
    assert "for documentation" in answer.out


def validated(cidr: str, call: Call, tmp_path: Path) -> Done:
    file = tmp_path / "topology.json"
    file.write_text(json.dumps(topology(cidr, 128 if ":" in cidr else 32)))
    return call("topology", "validate", str(file))
