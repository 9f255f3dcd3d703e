"""The cluster of the routes benchmark, as events, and one of its nodes in a network namespace."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from romana_bus.events import BlockAssigned, HostPlaced
from romana_bus.inet import V4, format_address
from tests.netns import Namespace, namespace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from romana_bus.events import Event

HOSTS, BLOCKS = 5_000, 10_000


def gateway(host: int) -> str:
    return f"10.99.{1 + host // 250}.{1 + host % 250}"


def cidr(number: int) -> str:
    return f"{format_address(V4, (100 << 24 | 64 << 16) + number * 16)}/28"


def events(hosts: int = HOSTS, blocks: int = BLOCKS) -> Iterator[Event]:
    for host in range(hosts):
        yield HostPlaced(node=f"node-{host}", uid=f"u-{host}", addresses=(gateway(host),))
    for number in range(blocks):
        yield BlockAssigned(network="pods", block=cidr(number), node=f"node-{number % hosts}", since=1)


@contextlib.contextmanager
def node() -> Iterator[Namespace]:
    with namespace("bench") as made:
        made.link("eth0", "10.99.0.1/16")
        yield made


def check_routes(here: Namespace) -> None:
    shown = here.ip("-4", "route", "show").count(" via ")
    assert shown == BLOCKS, f"{shown} routes in the kernel"
