"""The audit as `up` and `watch` run it, and `ipam check` once."""

from __future__ import annotations

import functools
import math
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from romana_bus.bus.api import Store as OpenStore
from romana_bus.cli.common.groups import AUDIT
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.consumers.audit import Lister, run_audit
from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from romana_bus.producers.kubernetes.client import Api


@Parameter(name="*", group=AUDIT)
@dataclass(frozen=True)
class Audits:
    """How often the log is held against the API server."""

    audit_every: float = 300.0
    """Seconds between two audits; 0 for none."""
    audit_grace: float = 60.0
    """Seconds for which two audits in a row must have found something before it is corrected."""

    def checked(self) -> None:
        """Raises BadInput."""
        for option, seconds in (("--audit-every", self.audit_every), ("--audit-grace", self.audit_grace)):
            if not (math.isfinite(seconds) and 0 <= seconds <= 86_400):
                raise BadInput(f"{option} {seconds:g}: between 0 and 86400 seconds")

    def beside(self, store: OpenStore, api: Api) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """What whoever leads the watch does too."""
        if not self.audit_every:
            return []
        node = socket.gethostname()
        one = functools.partial(
            run_audit, store, lister(api), ipam_state, node, self.audit_every, self.audit_grace
        )
        return [one]


def lister(api: Api) -> Lister:
    from romana_bus.producers.kubernetes.list_once import listed
    from romana_bus.producers.kubernetes.objects import NODES, PODS

    kinds = {kind.name: kind for kind in (NODES, PODS)}

    async def lists(resource: str) -> Any:
        return await listed(api, kinds[resource])

    return lists
