"""`romana-bus ipam reserve` and `unreserve`: ranges from which no address is assigned."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from romana_bus.bus.api import WrongSequence
from romana_bus.bus.auth.permissions import OPERATE
from romana_bus.bus.connect import open_store
from romana_bus.cli.common import console
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import Output, Store
from romana_bus.cli.common.session import run
from romana_bus.cli.common.terminal import Text
from romana_bus.errors import BadInput, Failed
from romana_bus.events import ROLES, SPEC, RangeReserved, RangeUnreserved
from romana_bus.ipam import State, evolve
from romana_bus.ipam.change import reserve as pure
from romana_bus.runtime.feed import outgoing

if TYPE_CHECKING:
    from romana_bus.bus.api import Store as OpenStore

Change = RangeReserved | RangeUnreserved
#: Returns the events that make the change.
Plan = Callable[[State], list[Change]]


def reserve(
    cidr: str,
    /,
    *,
    drain: Annotated[bool, Parameter(negative="")] = False,
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Reserve a range: no address in it is assigned until `ipam unreserve`.

    Refused if pods have addresses in it. `ipam show` lists the reserved ranges.

    Parameters
    ----------
    cidr
        The range, such as 10.20.0.16/28, or one address.
    drain
        Reserve it even if pods have addresses in it: they keep them until they are gone.
    """

    def plan(state: State) -> list[Change]:
        try:
            return pure.reserve(state, cidr, drain)
        except pure.BadRange as error:
            if error.kind != "in_use":
                raise
            raise BadInput(
                f"not reserved: {error}. With --drain it is, and they keep theirs until they are gone"
            ) from None

    _run(cidr, plan, store, output)


def unreserve(cidr: str, /, *, store: Store = Store(), output: Output = Output()) -> None:
    """Assign addresses of a reserved range again.

    Parameters
    ----------
    cidr
        The range, as `ipam show` lists it.
    """
    _run(cidr, lambda state: pure.unreserve(state, cidr), store, output)


def _run(cidr: str, plan: Plan, store: Store, output: Output) -> None:
    pure.parse(cidr)  # a wrong range is reported before a server is needed
    run(_change(cidr, plan, store, output), output)


async def _change(cidr: str, plan: Plan, store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "ipam reserve", ROLES, who=OPERATE) as opened:
        state = await ipam_state(opened)
        events = plan(state)
        await _publish(opened, events)
    for event in events:
        evolve(state, event)
    if output.json:
        console.as_json(_document(state, cidr, events))
    else:
        _print(state, cidr, events)


async def _publish(store: OpenStore, events: list[Change]) -> None:
    """Publish the events, each only if its subject was not changed by another command. Raises Failed."""
    for event in events:
        newest = await store.newest(SPEC, event.subject())
        try:
            message = outgoing(event, "", store.clock.now(), store.history)
            await store.publish(SPEC, message, newest.seq if newest else 0)
        except WrongSequence:
            raise Failed(
                f"another command changed {event.cidr} at the same time: check it and try again"
            ) from None


def _document(state: State, cidr: str, events: list[Change]) -> dict[str, object]:
    return {
        "changed": bool(events),
        "reserved": [event.cidr for event in events if isinstance(event, RangeReserved)],
        "unreserved": [event.cidr for event in events if isinstance(event, RangeUnreserved)],
        "covered_by": pure.covering(state, cidr),
        "live": [{"address": address, "pod": pod} for address, pod in pure.live(state, cidr)],
    }


def _print(state: State, cidr: str, events: list[Change]) -> None:
    around = pure.covering(state, cidr)
    if not events:
        console.console.print(Text(f"unchanged: {around} is reserved already", "bold"))
    for event in events:
        state_now = "reserved" if isinstance(event, RangeReserved) else "no longer reserved"
        inside = f": inside {around}" if around and isinstance(event, RangeUnreserved) else ""
        console.console.print(Text(f"{event.cidr} {state_now}{inside}", "bold"))
    if around and (live := pure.live(state, cidr)):
        pods = ", ".join(f"{address} ({pod})" for address, pod in live[: pure.SHOWN])
        more = f" and {len(live) - pure.SHOWN:,} more" if len(live) > pure.SHOWN else ""
        console.hint(f"draining: {len(live):,} left: {pods}{more}")
