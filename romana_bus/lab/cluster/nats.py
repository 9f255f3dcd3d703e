"""The process that keeps the lab's NATS server running: `python -m romana_bus.lab.cluster.nats DIRECTORY
CLUSTER`.

The embedded server ends with its last user (bus/embedded). This process is its only user, since all others
connect by URL: so NATS ends with this process. The next one uses the same port and the same store.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from romana_bus.bus.auth.permissions import UP
from romana_bus.bus.embedded.client import Embedded, Endpoint
from romana_bus.runtime.process.signals import run


async def _hold(directory: Path, cluster: str) -> None:
    embedded = await Embedded.join(directory, cluster, UP)
    embedded.keep(_moved)
    try:
        await asyncio.Event().wait()
    finally:
        await embedded.leave()


async def _moved(_endpoint: Endpoint) -> None:
    """Does nothing: clients read the new address from the keeper's file."""


if __name__ == "__main__":
    sys.exit(run(_hold(Path(sys.argv[1]), sys.argv[2])))
