"""A NATS server and nodes that reach it; skipped with the reason where there are no network namespaces."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.cni.calling import unusable
from tests.cni.node import Node, Reachable

if TYPE_CHECKING:
    from collections.abc import Iterator

_clusters = itertools.count(1)


@pytest.fixture(scope="session")
def namespaces() -> None:
    if why := unusable():
        pytest.skip(why)


@pytest.fixture(scope="module")
def nats(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reachable]:
    with Reachable(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture(scope="module")
def node(nats: Reachable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One with an agent that lives, for all tests that leave it alone."""
    with Node(tmp_path_factory.mktemp("node"), nats, f"cni{next(_clusters)}") as made:
        yield made.start().until_synced()


@pytest.fixture
def own_nats(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reachable]:
    """One that the test may kill."""
    with Reachable(tmp_path_factory.mktemp("nats")) as server:
        yield server


@pytest.fixture
def own_node(own_nats: Reachable, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One whose agent the test starts and kills."""
    with Node(tmp_path_factory.mktemp("node"), own_nats, f"cni{next(_clusters)}") as made:
        yield made
