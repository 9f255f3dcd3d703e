"""What is in the way of pods' packets, of what a node's kernel has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.inet import V4, V6, parse_prefix
from romana_bus.routing.obstacles import LOCAL, MAIN, Chain, Foreign, Rule, obstacles

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.routing.obstacles import Obstacle

PODS = (parse_prefix("10.20.0.0/17"), parse_prefix("10.20.128.0/17"), parse_prefix("fd20::/48"))
BOTH = frozenset((V4, V6))
#: As the kernel makes them.
RULES = tuple(
    Rule(width, *rule) for width in (V4, V6) for rule in ((0, "lookup", LOCAL), (32766, "lookup", MAIN))
)


def prefix(text: str) -> Prefix | None:
    return parse_prefix(text) if text else None


def found(*rules: Rule, pods: tuple[Prefix, ...] = PODS, routes: str = "0.0.0.0/0") -> list[Obstacle]:
    """With these rules besides the kernel's own, and that one route in table 100."""
    every = tuple(sorted((*RULES, *rules), key=lambda rule: (rule.width, rule.priority)))
    width = V6 if ":" in routes else V4
    tables = {(width, 100): frozenset(map(parse_prefix, routes.split()))}
    return obstacles(Foreign(rules=every, tables=tables, defaults=BOTH), pods)


def rule(priority: int = 100, source: str = "", to: str = "", width: int = V4, **more: Any) -> Rule:
    return Rule(width, priority, **{"table": 100} | more, source=prefix(source), destination=prefix(to))


def test_node_as_the_kernel_makes_it() -> None:
    assert found() == []


@pytest.mark.parametrize(
    "one",
    [
        rule(),
        rule(32765),
        rule(1),
        rule(source="10.0.0.0/8"),
        rule(to="10.20.7.0/24"),
        rule(source="10.20.0.0/16", to="10.20.0.0/16"),
        rule(link="eth0"),
        rule(inverted=True, selective=True),  # as wg-quick has it: all that has not its mark
        rule(inverted=True, source="192.168.0.0/16"),
    ],
    ids=str,
)
def test_rule_that_takes_packets_of_pods(one: Rule) -> None:
    [told] = found(one)
    assert told.found == f"ip rule {one.priority} ({one}) comes before the main table"
    assert told.meaning == "packets to pods take the route to 0.0.0.0/0 in table 100 instead of ours"
    assert not told.is_note


@pytest.mark.parametrize(
    "one",
    [
        rule(32767),
        rule(selective=True),
        rule(source="172.31.1.10/32"),  # of an address of the node, as on hosts with several links
        rule(source="10.20.0.0/16", to="8.8.8.0/24"),
        rule(suppressed=0),
        rule(table=101),  # without routes
        rule(table=MAIN),
        rule(table=LOCAL),
        rule(action="goto"),
        rule(action="nop"),
        rule(width=V6),  # the table has routes of the other family only
    ],
    ids=str,
)
def test_rule_that_leaves_packets_of_pods_alone(one: Rule) -> None:
    assert found(one) == []


def test_only_routes_to_pods_count() -> None:
    assert found(rule(), routes="10.21.0.0/16 192.168.0.0/16") == []
    [told] = found(rule(), routes="10.20.200.0/24 192.168.0.0/16")
    assert "10.20.200.0/24" in told.meaning
    [told] = found(rule(width=V6), routes="::/0")
    assert str(told).startswith("ip -6 rule 100 (from all lookup 100) comes before the main table: ")


@pytest.mark.parametrize("action", ["blackhole", "unreachable", "prohibit"])
def test_rule_that_refuses_packets_of_pods(action: str) -> None:
    [told] = found(rule(action=action, table=0))
    assert told.found == f"ip rule 100 (from all {action}) comes before the main table"
    assert told.meaning == f"the kernel refuses packets of pods ({action})"
    assert found(rule(action=action, table=0, source="192.168.0.0/16")) == []


def test_main_table_without_its_default_route_is_looked_up_first() -> None:
    """By wg-quick: what has a route of ours does not come to the later rule."""
    main = rule(90, table=MAIN, suppressed=0)
    assert found(main, rule(inverted=True, selective=True)) == []
    assert found(rule(90, table=MAIN, suppressed=17), rule())
    assert found(rule(90, table=MAIN, source="10.20.0.0/16"), rule())
    assert found(rule(110, table=MAIN), rule())


def test_remedy_ends_it() -> None:
    [told] = found(rule())
    for one in PODS[:2]:
        assert f"ip rule add to {one} lookup main pref 99" in told.remedy
    passes = [rule(99, to=str(one), table=MAIN) for one in PODS[:2]]
    assert found(passes[0], rule())
    assert found(*passes, rule()) == []


def test_main_table_that_nothing_looks_up() -> None:
    only = Foreign(rules=RULES[1:], defaults=BOTH)
    assert obstacles(only, PODS) == []  # the local table alone may be missing
    [told] = obstacles(Foreign(rules=(RULES[0], *RULES[2:]), defaults=BOTH), PODS)
    assert told.found == "no ip rule looks up the main table for all packets"
    assert "ip rule add lookup main pref 32766" in told.remedy


def test_chains() -> None:
    chains = (
        Chain("inet", "f", "forwards"),
        Chain("ip", "filter", "FORWARD"),
        Chain("ip6", "filter", "FORWARD", legacy=True),
        Chain("ip", "other", "FORWARD", accepts_pods=True),
    )
    told = obstacles(Foreign(chains, RULES, defaults=BOTH), PODS)
    assert [one.found for one in told] == [
        "the policy of the nftables chain inet f forwards is drop, at the hook forward",
        "the policy of FORWARD is DROP (iptables)",
        "the policy of FORWARD is DROP (ip6tables-legacy)",
    ]
    families = ["IPv4 and IPv6", "IPv4", "IPv6"]
    assert [one.meaning.split(" packets of pods")[0] for one in told] == families
    told = obstacles(Foreign(chains, RULES, defaults=BOTH), PODS[:2])
    assert [one.meaning.split(" packets of pods")[0] for one in told] == ["IPv4", "IPv4"]


def test_missing_default_route() -> None:
    only_six = Foreign(rules=RULES, defaults=frozenset([V6]))
    [told] = obstacles(only_six, PODS)
    assert (told.found, told.is_note) == ("no IPv4 default route", True)
    [told] = obstacles(only_six, PODS, by_default=1200)
    assert not told.is_note
    assert "1,200 blocks of pods on other nodes" in told.meaning
    assert obstacles(only_six, PODS[2:]) == []


def test_node_without_pods() -> None:
    chains = (Chain("inet", "f", "forwards"),)
    assert obstacles(Foreign(chains, (rule(),)), ()) == []
