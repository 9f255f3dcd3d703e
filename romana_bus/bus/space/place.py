"""Where a store is: the disk under it, and the monitoring port of its server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.bus.space import monitor
from romana_bus.bus.space.alarms import Room
from romana_bus.errors import RomanaError

if TYPE_CHECKING:
    from pathlib import Path


class Place(NamedTuple):
    """What is known of where a store is. `directory`: of the embedded server. `monitor`: URL of the
    monitoring port, or ''."""

    directory: Path | None = None
    monitor: str = ""

    def disk(self, stored: int) -> Room | None:
        """The disk, as far as this store can have it: what it stores, and what is free for this user."""
        if self.directory is None:
            return None
        at = os.statvfs(self.directory)
        return Room(f"the disk of {self.directory}", stored, stored + at.f_bavail * at.f_frsize)

    async def varz(self) -> dict[str, Any] | None:
        """/varz of the monitoring port; None if there is none, or if it does not answer."""
        if not self.monitor:
            return None
        try:
            return await monitor.varz(self.monitor)
        except RomanaError:
            return None
