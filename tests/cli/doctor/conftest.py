"""An API server with a small cluster."""

from __future__ import annotations

from tests.cli.ipam.conftest import api

__all__ = ["api"]
