"""`romana-bus resync`: makes the watcher list a resource again."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from romana_bus.bus.api import Store as OpenStore
from romana_bus.bus.api import WrongSequence
from romana_bus.bus.auth.permissions import OPERATE
from romana_bus.bus.connect import open_store
from romana_bus.cli.common import console
from romana_bus.cli.common.options import Output, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.status.resources import resources
from romana_bus.errors import BadInput, Failed
from romana_bus.events import ROLES, SPEC, ListingAsked, codec
from romana_bus.runtime.feed import outgoing
from romana_bus.runtime.parked import ParkedMessages


def resync(
    resource: str,
    /,
    *,
    believe: Annotated[bool, Parameter(negative="")] = False,
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Make the watcher list a resource again.

    An object that is missing from a listing counts as deleted only if it is
    missing from the next listing too; if many objects are missing, only after
    three listings within half a minute.

    Parameters
    ----------
    resource
        Name of the resource in `romana-bus status`, such as pods.
    believe
        Objects that are missing from the new listing count as deleted at once.
    """
    run(_resync(resource, believe, store, output), output)


async def _resync(resource: str, believe: bool, store: Store, output: Output) -> None:
    async with await open_store(
        store.access, store.layout, "resync", ROLES, who=OPERATE, looking=True
    ) as opened:
        known = [str(known["resource"]) for known in await resources(opened, ParkedMessages("resync"))]
        if resource not in known:
            choice = f"name one of {', '.join(known)}" if known else "start `romana-bus watch`"
            raise BadInput(f"{resource}: the log has no such resource: {choice}")
        event = await _ask(opened, resource, believe)
    if output.json:
        console.as_json(event)
    else:
        how = ", and missing objects count as deleted at once" if believe else ""
        console.console.print(f"ordered: {resource} are listed again{how}")


async def _ask(store: OpenStore, resource: str, believe: bool) -> ListingAsked:
    """Raises Failed, BusError."""
    now = store.clock.now()
    event = ListingAsked(resource=resource, reason="an operator asked for it", at=now, believe=believe)
    newest = await store.newest(SPEC, event.subject())
    before = codec.decode(newest.body) if newest else None
    if isinstance(before, ListingAsked) and before.at == now:
        raise Failed("another command asked at the same moment: try again")
    try:
        await store.publish(SPEC, outgoing(event, "", now, store.history), newest.seq if newest else 0)
    except WrongSequence:
        raise Failed("another command asked at the same moment: try again") from None
    return event
