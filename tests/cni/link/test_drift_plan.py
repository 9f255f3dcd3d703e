"""What a link should be against what the kernel has: each difference alone, and what is left alone."""

from __future__ import annotations

from typing import Any

import pytest

from romana_bus.cni.link.drift import DOWN, GATEWAYS, ROUTES, SETTINGS, Actual, Drift, Wanted, plan
from romana_bus.cni.link.veth import veth
from romana_bus.inet import V4, V6, parse_address
from romana_bus.netlink.pod_links import HostEnd

FOUR, SIX, OTHER = (parse_address(text) for text in ("10.7.0.1", "fd07::1", "10.7.0.2"))
BOTH, ONLY_FOUR = veth("c1", "eth0", ["10.7.0.1", "fd07::1"]), veth("c2", "eth0", ["10.7.0.2"])
END = HostEnd(ifindex=7, up=True, forwarding=1, rp_filter=1, accept_ra=0, disable_ipv6=0)
WITHOUT_SIX = END._replace(ifindex=9, disable_ipv6=1)
RIGHT = Actual(
    ends={BOTH.host: END, ONLY_FOUR.host: WITHOUT_SIX},
    gateways={V4: frozenset({7, 9}), V6: frozenset({7})},
    slow=frozenset(),
    routes={FOUR: frozenset({7}), SIX: frozenset({7}), OTHER: frozenset({9})},
)
WANTED = [Wanted(BOTH, (FOUR, SIX)), Wanted(ONLY_FOUR, (OTHER,))]


def end(**fields: Any) -> dict[str, Any]:
    return {"ends": {**RIGHT.ends, BOTH.host: END._replace(**fields)}}


def second(**fields: Any) -> dict[str, Any]:
    return {"ends": {**RIGHT.ends, ONLY_FOUR.host: WITHOUT_SIX._replace(**fields)}}


def routed(address: tuple[int, int], *links: int) -> dict[str, Any]:
    return {"routes": {**RIGHT.routes, address: frozenset(links)}}


FIRST, SECOND = Drift(BOTH, 7), Drift(ONLY_FOUR, 9)
CONF = f"ipv6/conf/{BOTH.host}"


@pytest.mark.parametrize(
    ("found", "drift", "kind"),
    [
        (end(up=False), FIRST._replace(down=True), DOWN),
        (end(forwarding=0), FIRST._replace(forward=True), SETTINGS),
        (end(rp_filter=2), FIRST._replace(forward=True), SETTINGS),
        (end(accept_ra=1), FIRST._replace(sysctls=((f"{CONF}/accept_ra", "0"),)), SETTINGS),
        (end(disable_ipv6=1), FIRST._replace(sysctls=((f"{CONF}/disable_ipv6", "0"),)), SETTINGS),
        (
            second(disable_ipv6=0),
            SECOND._replace(sysctls=((f"ipv6/conf/{ONLY_FOUR.host}/disable_ipv6", "1"),)),
            SETTINGS,
        ),
        (
            {"slow": frozenset({BOTH.host})},
            FIRST._replace(sysctls=((f"ipv4/neigh/{BOTH.host}/proxy_delay", "0"),)),
            SETTINGS,
        ),
        (
            {"gateways": {**RIGHT.gateways, V4: frozenset({9})}},
            FIRST._replace(gateways=(V4,)),
            GATEWAYS,
        ),
        ({"gateways": {**RIGHT.gateways, V6: frozenset()}}, FIRST._replace(gateways=(V6,)), GATEWAYS),
        (routed(FOUR), FIRST._replace(missing=(FOUR,)), ROUTES),
        (routed(SIX), FIRST._replace(missing=(SIX,)), ROUTES),
        (routed(FOUR, 3), FIRST._replace(missing=(FOUR,), astray=((FOUR, 3),)), ROUTES),
        (routed(FOUR, 3, 7), FIRST._replace(astray=((FOUR, 3),)), ROUTES),
    ],
)
def test_each_difference_is_found_alone(found: dict[str, Any], drift: Drift, kind: str) -> None:
    delta = plan(WANTED, RIGHT._replace(**found))
    assert delta.drifts == [drift]
    assert drift.kinds == [kind]
    assert len(drift.texts) == 1 + (len(drift.astray) and len(drift.missing))
    assert delta.gone == []


def test_what_is_right_needs_nothing() -> None:
    assert plan(WANTED, RIGHT) == ([], [])


def test_a_kernel_without_ipv6_has_no_settings_of_it() -> None:
    assert plan(WANTED, RIGHT._replace(**second(accept_ra=-1, disable_ipv6=-1))) == ([], [])


def test_a_link_that_is_gone_is_not_made() -> None:
    """Its routes are gone with it."""
    actual = RIGHT._replace(ends={ONLY_FOUR.host: WITHOUT_SIX}, routes={OTHER: frozenset({9})})
    assert plan(WANTED, actual) == ([], [BOTH.host])


def test_links_and_routes_that_nobody_wants_stay() -> None:
    assert plan([], RIGHT) == ([], [])


def test_of_two_sandboxes_of_a_pod_the_older_one_gets_no_route_and_the_newer_one_takes_none() -> None:
    """An ADD that has put its file takes the route over as its last step."""
    newer = veth("c3", "eth0", ["10.7.0.1", "fd07::1"])
    ends = {**RIGHT.ends, newer.host: END._replace(ifindex=8)}
    gateways = {V4: frozenset({7, 8, 9}), V6: frozenset({7, 8})}
    wanted = [WANTED[0]._replace(routed=()), WANTED[1], Wanted(newer, (FOUR, SIX))]
    for routes in (RIGHT.routes, {**RIGHT.routes, FOUR: frozenset({8}), SIX: frozenset({8})}):
        assert plan(wanted, RIGHT._replace(ends=ends, gateways=gateways, routes=routes)) == ([], [])
