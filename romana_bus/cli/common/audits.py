"""Options and jobs of the audit, which `up` and `watch` run regularly, and `ipam check` once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cyclopts import Parameter

from romana_bus.bus.api import Store as OpenStore
from romana_bus.cli.common.groups import AUDIT
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import check_seconds, host_node
from romana_bus.consumers.audit import Lister, run_audit

if TYPE_CHECKING:
    from romana_bus.kubernetes.api import Api


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
        check_seconds("--audit-every", self.audit_every)
        check_seconds("--audit-grace", self.audit_grace)

    def beside(self, store: OpenStore, api: Api) -> list[Callable[[], Coroutine[Any, Any, None]]]:
        """The jobs that the leader of the watch runs beside it."""
        if not self.audit_every:
            return []
        node = host_node()
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
