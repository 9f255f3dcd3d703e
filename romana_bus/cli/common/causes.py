"""The chain of causes of a decision: its event, the event that led to it, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.bus.api import StreamMissing
from romana_bus.cli.common import console, event_text
from romana_bus.cli.common.terminal import Text
from romana_bus.events import IPAM, ROLES, AddressReleased, codec

if TYPE_CHECKING:
    from romana_bus.bus.api import Message, Store
    from romana_bus.ipam.report.views import PodView

#: The most events of a chain.
STEPS = 5


def subject(pod: PodView) -> str:
    """The subject of a pod's address decisions."""
    entity = AddressReleased(namespace=pod.namespace, name=pod.name, uid=pod.uid, node=pod.node)
    return entity.subject()


async def chain(store: Store, subject: str) -> list[dict[str, Any]]:
    """The newest event of an entity, the one that led to it, and so on, as far as the log has them."""
    steps: list[dict[str, Any]] = []
    role, message = IPAM, await store.newest(IPAM, subject)
    while message is not None and len(steps) < STEPS:
        steps.append(_step(role, message))
        role, _, number = message.cause.partition("/")
        known = role in ROLES and number.isdecimal()
        message = await _stored(store, role, int(number)) if known else None
    return steps


async def _stored(store: Store, role: str, seq: int) -> Message | None:
    try:
        return await store.get(role, seq)
    except StreamMissing:
        return None


def _step(role: str, message: Message) -> dict[str, Any]:
    event = codec.decode(message.body)
    step = {"stream": role, "seq": message.seq, "time": message.stored, "cause": message.cause}
    if isinstance(event, codec.Parked):
        return step | {"type": "", "says": event.reason}
    return step | {"type": type(event).__name__, "says": event_text.sentence(event)}


def print_chain(events: list[dict[str, Any]]) -> None:
    """Print a chain, two lines for each event, so that names fit on a narrow screen."""
    if not events:
        return
    lines = []
    for event in events:
        place = f"{console.when(event['time'])}  {event['stream']}/{event['seq']}  "
        lines += [Text.assemble((place, "dim"), event["type"]), Text(f"    {event['says']}")]
    if missing := events[-1]["cause"]:
        lines.append(console.dim(f"caused by {missing}, which the log no longer has"))
    console.section("what led to it", *lines)
