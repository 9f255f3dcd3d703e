"""`romana-bus events`: what is on the log."""

from __future__ import annotations

import sys
from typing import Annotated

from cyclopts import App, Parameter

from romana_bus import codec
from romana_bus.bus.api import Message
from romana_bus.bus.connect import open_store
from romana_bus.cli import show, telling
from romana_bus.cli.options import Output, Store
from romana_bus.cli.session import run
from romana_bus.errors import BadInput
from romana_bus.tail import ROLES, matches, roles_of, tail

app = App(name="events", help="The event log, for people and for pipes.")


@app.command(name="tail")
def tail_(
    *,
    subject: str = ">",
    last: int = 10,
    all: Annotated[bool, Parameter(negative="")] = False,
    no_follow: Annotated[bool, Parameter(negative="")] = False,
    store: Store = Store(),
    output: Output = Output(),
) -> None:
    """Show events as they come, until interrupted.

    Parameters
    ----------
    subject
        Only these: a NATS subject pattern without the cluster's prefix, such as `ipam.address.>`.
    last
        Begin with so many stored events of each stream.
    all
        Begin with all that the log has.
    no_follow
        End at the present.
    """
    if not roles_of(subject):
        tokens = ", ".join(role.lower() for role in ROLES)
        raise BadInput(f"--subject {subject}: begins with one of {tokens}, or is '>'")
    if last < 0:
        raise BadInput(f"--last {last}: 0 or more")
    run(_tail(subject, None if all else last, not no_follow, store, output), output)


async def _tail(subject: str, last: int | None, follow: bool, store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "events tail", ROLES) as opened:
        async for batch in tail(opened, roles_of(subject), last, follow):
            for role, message in batch:
                if matches(subject, message.subject):
                    tell(role, message, output.json)
            sys.stdout.flush()


def tell(role: str, message: Message, as_json: bool) -> None:
    """One event on stdout."""
    event = codec.decode(message.body)
    if as_json:
        shown = {
            "stream": role,
            "seq": message.seq,
            "subject": message.subject,
            "id": message.id,
            "time": message.time,
            "cause": message.cause,
        }
        if isinstance(event, codec.Parked):
            show.as_json(shown | {"parked": event.reason, "body": event.body.decode(errors="replace")})
        else:
            show.as_json(shown | {"event": event})
    elif isinstance(event, codec.Parked):
        sys.stdout.write(f"{telling.clock(message.time)}  {role}/{message.seq}  {event.reason}\n")
    else:
        sys.stdout.write(telling.line(role, message, event) + "\n")
