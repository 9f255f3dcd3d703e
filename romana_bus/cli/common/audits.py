"""Options and jobs of the audit, which `up` and `watch` run regularly, and `ipam check` once."""

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
    """How often the log is compared with the API server."""

    audit_every: float = 300.0
    """Seconds between two audits; 0 for none."""
    audit_grace: float = 60.0
    """Seconds between two audits in a row that must find the same before it is corrected."""

    def checked(self) -> None:
        """Check the options. Raises BadInput."""
        for option, seconds in (("--audit-every", self.audit_every), ("--audit-grace", self.audit_grace)):
            if not (math.isfinite(seconds) and 0 <= seconds <= 86_400):
                raise BadInput(f"{option} {seconds:g}: must be between 0 and 86400 seconds")

    def beside(self, store: OpenStore, api: Api) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """The jobs that the leader of the watch runs beside it."""
        if not self.audit_every:
            return []
        node = socket.gethostname()
        job = functools.partial(
            run_audit, store, lister(api), ipam_state, node, self.audit_every, self.audit_grace
        )
        return [job]


def lister(api: Api) -> Lister:
    """Lists nodes or pods of an API server, for an audit."""
    from romana_bus.producers.kubernetes.list_once import listed
    from romana_bus.producers.kubernetes.objects import NODES, PODS

    kinds = {kind.name: kind for kind in (NODES, PODS)}

    async def lists(resource: str) -> Any:
        return await listed(api, kinds[resource])

    return lists
