"""What led to a decision: its event, the one that caused it, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.bus.api import StreamMissing
from romana_bus.bus.tail import ROLES
from romana_bus.cli.common import console, event_text
from romana_bus.cli.common.terminal import Text
from romana_bus.events import IPAM, AddressReleased, codec

if TYPE_CHECKING:
    from romana_bus.bus.api import Message, Store
    from romana_bus.ipam.report.views import PodView

#: Events that are followed back, from an address to what led to it.
STEPS = 5


def subject(one: PodView) -> str:
    """The entity's."""
    entity = AddressReleased(namespace=one.namespace, name=one.name, uid=one.uid, node=one.node)
    return entity.subject()


async def chain(store: Store, subject: str) -> list[dict[str, Any]]:
    """The newest event of an entity, the one that led to it, and so on, as far as the log has them."""
    found: list[dict[str, Any]] = []
    role, message = IPAM, await store.newest(IPAM, subject)
    while message is not None and len(found) < STEPS:
        found.append(_told(role, message))
        role, _, number = message.cause.partition("/")
        known = role in ROLES and number.isdecimal()
        message = await _stored(store, role, int(number)) if known else None
    return found


async def _stored(store: Store, role: str, seq: int) -> Message | None:
    try:
        return await store.get(role, seq)
    except StreamMissing:
        return None


def _told(role: str, message: Message) -> dict[str, Any]:
    event = codec.decode(message.body)
    told = {"stream": role, "seq": message.seq, "time": message.stored, "cause": message.cause}
    if isinstance(event, codec.Parked):
        return told | {"type": "", "says": event.reason}
    return told | {"type": type(event).__name__, "says": event_text.sentence(event)}


def print_chain(events: list[dict[str, Any]]) -> None:
    """Two lines each, so that names are whole on a narrow screen."""
    if not events:
        return
    lines = []
    for one in events:
        place = f"{console.when(one['time'])}  {one['stream']}/{one['seq']}  "
        lines += [Text.assemble((place, "dim"), one["type"]), Text(f"    {one['says']}")]
    if missing := events[-1]["cause"]:
        lines.append(console.dim(f"led to by {missing}, which the log no longer has"))
    console.section("what led to it", *lines)
