"""A node on one link."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.netns import Namespace, namespace

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def node() -> Iterator[Namespace]:
    with namespace("node") as made:
        made.link("eth0", "10.99.0.1/16", "fd99::1/64")
        made.ip("route", "add", "default", "via", "10.99.255.254")
        yield made
