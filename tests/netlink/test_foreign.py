"""What others have set up on a node, as read from a real kernel and as `nft`, `iptables` and `ip` make it."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

from romana_bus.inet import parse_prefix
from romana_bus.netlink.foreign.read import chains, read
from romana_bus.routing.obstacles import Chain, obstacles
from tests.netns import Namespace, needs_namespaces

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.routing.obstacles import Obstacle

pytestmark = needs_namespaces

PODS = (parse_prefix("10.20.0.0/16"), parse_prefix("fd20::/48"))
DROPS = "{ type filter hook forward priority 0; policy drop; }"


def told(node: Namespace) -> list[Obstacle]:
    return obstacles(node.inside(read), PODS)


def has(node: Namespace, *command: str) -> None:
    """Run it there; skips the test where the program or the kernel's part is missing."""
    if not shutil.which(command[0]):
        pytest.skip(f"no {command[0]} here")
    try:
        node.run(*command)
    except AssertionError as error:
        if "-legacy" in command[0] and re.search("Table does not exist|do you need to insmod", str(error)):
            pytest.skip(f"no iptables-legacy in this kernel: {error}")
        raise


def is_ended_by_its_remedy(node: Namespace, before: int = 1) -> None:
    """Every text says what to do: after that it is not told."""
    said = told(node)
    assert len(said) == before, said
    for one in said:
        command = one.remedy.partition(": ")[2]
        node.run("sh", "-ec", command)
    assert told(node) == []


def test_plain_node(node: Namespace) -> None:
    assert told(node) == []


@pytest.mark.parametrize("tool", ["iptables-nft", "ip6tables-nft", "iptables-legacy", "ip6tables-legacy"])
def test_policy_of_iptables(node: Namespace, tool: str) -> None:
    has(
        node,
        tool,
        "-A",
        "FORWARD",
        "-s",
        "192.0.2.0/24" if tool[2] == "t" else "2001:db8::/32",
        "-j",
        "ACCEPT",
    )
    assert told(node) == []
    has(node, tool, "-P", "FORWARD", "DROP")
    [one] = told(node)
    assert one.found == f"the policy of FORWARD is DROP ({tool.removesuffix('-nft')})"
    has(node, tool, "-P", "FORWARD", "ACCEPT")
    assert told(node) == []
    has(node, tool, "-P", "FORWARD", "DROP")
    if tool.endswith("-nft"):  # `iptables`, as the text says, may be another one of them here
        has(
            node,
            tool,
            "-I",
            "FORWARD",
            "-i",
            "rb+",
            "-m",
            "comment",
            "--comment",
            "pods-of-romana-bus",
            "-j",
            "ACCEPT",
        )
        assert told(node) == []
    else:
        is_ended_by_its_remedy(node)


@pytest.mark.parametrize("tool", ["iptables-legacy", "ip6tables-legacy"])
def test_table_is_not_made_by_reading(node: Namespace, tool: str) -> None:
    names = "/proc/net/" + tool.replace("tables-legacy", "_tables_names")
    has(node, tool, "-t", "mangle", "-L")
    node.inside(chains)
    assert node.run("cat", names).split() == ["mangle"]


@pytest.mark.parametrize("family", ["ip", "ip6", "inet"])
def test_policy_of_an_nftables_chain(node: Namespace, family: str) -> None:
    has(node, "nft", f"add table {family} t; add chain {family} t forwards {DROPS}")
    assert node.inside(chains) == (Chain(family, "t", "forwards"),)
    is_ended_by_its_remedy(node)
    assert node.inside(chains) == (Chain(family, "t", "forwards", accepts_pods=True),)


@pytest.mark.parametrize(
    "chain",
    [
        "{ type filter hook forward priority 0; policy accept; }",
        "{ type filter hook input priority 0; policy drop; }",
        "{ }",
    ],
)
def test_other_chains(node: Namespace, chain: str) -> None:
    has(node, "nft", f"add table inet t; add chain inet t forwards {chain}")
    assert node.inside(chains) == ()


def test_comment_in_another_table_accepts_nothing_here(node: Namespace) -> None:
    has(node, "nft", f"add table inet t; add chain inet t c {DROPS}; add table inet u; add chain inet u c")
    node.run("nft", 'add rule inet u c accept comment "pods-of-romana-bus"')
    assert [one.accepts_pods for one in node.inside(chains)] == [False]


@pytest.mark.parametrize(
    ("family", "default", "rule", "text"),
    [
        ("-4", "10.99.0.9", "lookup 100", "from all lookup 100"),
        ("-4", "10.99.0.9", "from 10.0.0.0/8 iif eth0 lookup 100", "from 10.0.0.0/8 iif eth0 lookup 100"),
        ("-4", "10.99.0.9", "not fwmark 0xca6c lookup 100", "not from all ... lookup 100"),
        ("-6", "fd99::9", "to fd20::/56 lookup 100", "from all to fd20::/56 lookup 100"),
        ("-4", "10.99.0.9", "prohibit", "from all prohibit"),
        ("-4", "10.99.0.9", "from all to 10.20.3.0/24 blackhole", "from all to 10.20.3.0/24 blackhole"),
    ],
)
def test_rule_before_main(node: Namespace, family: str, default: str, rule: str, text: str) -> None:
    node.ip(family, "rule", "add", *rule.split(), "pref", "100")
    if "lookup" in rule:
        assert told(node) == []  # the table is empty
        node.ip(family, "route", "add", "throw", "default", "table", "100")
        assert told(node) == []
        node.ip(family, "route", "replace", "default", "via", default, "table", "100")
    [one] = told(node)
    assert f"rule 100 ({text}) comes before the main table" in one.found
    is_ended_by_its_remedy(node)


@pytest.mark.parametrize(
    "rule",
    [
        "fwmark 0x1 lookup 100", "oif eth0 lookup 100", "uidrange 7-9 lookup 100", "l3mdev",
        "from 10.99.0.1 lookup 100", "lookup 100 suppress_prefixlength 0", "goto 32766", "lookup main",
    ],
)  # fmt: skip
def test_rule_that_no_packet_of_a_pod_meets(node: Namespace, rule: str) -> None:
    node.ip("route", "add", "default", "via", "10.99.0.9", "table", "100")
    node.ip("rule", "add", *rule.split(), "pref", "100")
    assert told(node) == []


def test_table_of_many_routes_is_read_in_part(node: Namespace, tmp_path: Path) -> None:
    lines = [f"route add 10.{at >> 8}.{at & 255}.0/24 via 10.99.0.9 table 100\n" for at in range(3000)]
    (tmp_path / "routes").write_text("".join(lines))
    node.ip("-batch", str(tmp_path / "routes"))
    node.ip("route", "add", "default", "via", "10.99.0.9", "table", "100")
    node.ip("rule", "add", "lookup", "100", "pref", "100")
    [one] = told(node)
    assert "the route to 0.0.0.0/0 in table 100" in one.meaning


def test_main_table_that_no_rule_looks_up(node: Namespace) -> None:
    node.ip("rule", "del", "pref", "32766")
    found = told(node)
    assert found[0].found == "no ip rule looks up the main table for all packets"
    node.run("sh", "-ec", found[0].remedy.removeprefix("add it: "))
    assert told(node) == []


@pytest.mark.parametrize(
    ("family", "texts"), [("-4", ["no IPv4 default route"]), ("-6", ["no IPv6 default route"])]
)
def test_missing_default_route(node: Namespace, family: str, texts: list[str]) -> None:
    node.ip(family, "route", "del", "default")
    assert [one.found for one in told(node)] == texts
    node.ip(family, "route", "add", "default", "dev", "eth0", "proto", "bird")  # of any protocol, and on-link
    assert told(node) == []


def test_unreachable_default_route_is_none(node: Namespace) -> None:
    node.ip("route", "replace", "unreachable", "default")
    assert [one.found for one in told(node)] == ["no IPv4 default route"]
