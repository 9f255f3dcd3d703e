"""A namespace with one link, and the kernel's routes in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.netlink.fib import Forwarding
from tests.netns import Namespace, namespace

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def node() -> Iterator[Namespace]:
    """On 10.99.0.0/16 and fd99::/64, with a default route of each family."""
    with namespace("node") as made:
        made.link("eth0", "10.99.0.1/16", "fd99::1/64")
        made.ip("route", "add", "default", "via", "10.99.255.254")
        made.ip("-6", "route", "add", "default", "via", "fd99::ffff")
        yield made


@pytest.fixture(params=[True, False], ids=["objects", "gateways"])
def objects(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def forwarding(node: Namespace, objects: bool) -> Iterator[Forwarding]:
    with node.entered(), Forwarding(objects) as opened:
        yield opened
