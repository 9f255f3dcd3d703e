"""A node with an agent of its own, as the tests of CNI have it."""

from __future__ import annotations

from tests.cni.conftest import namespaces, own_nats, own_node

__all__ = ["namespaces", "own_nats", "own_node"]
