"""`romana-bus events`: what is on the log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from romana_bus.bus.auth.permissions import READ
from romana_bus.bus.connect import open_store
from romana_bus.bus.reading.tail import tail
from romana_bus.bus.stream_config import matches
from romana_bus.cli.common import console, event_text
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.options import Output, Store
from romana_bus.cli.common.session import run, until_no_reader
from romana_bus.cli.common.terminal import print_error, print_line
from romana_bus.errors import BadInput
from romana_bus.events import ROLES, codec, roles_of
from romana_bus.tasks import until_one_ends

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from romana_bus.bus.api import Message

app = App(
    name="events",
    group_parameters=OPTIONS,
)


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
    """Show the latest events, and then new ones as they arrive, until interrupted.

    A line: the time, stream and sequence, what happened, and in brackets the event that led to it.

    Parameters
    ----------
    subject
        Only events whose subject matches, such as 'ipam.address.>' ('>': the rest, '*': one token).
    last
        How many stored events of each stream to begin with.
    all
        Begin with all events of the log.
    no_follow
        End after the stored events.
    """
    check(subject)
    if last < 0:
        raise BadInput(f"--last {last}: must be 0 or more")
    run(_tail(subject, None if all else last, not no_follow, store, output), output)


def check(subject: str) -> None:
    """Raises BadInput for a pattern that no subject can match."""
    tokens = subject.split(".")
    if not roles_of(subject):
        names = ", ".join(role.lower() for role in ROLES)
        raise BadInput(f"--subject {subject!r}: must begin with one of {names}, or be '>'")
    if not all(tokens) or any(character.isspace() for character in subject):
        raise BadInput(
            f"--subject {subject!r}: write tokens with dots between them, such as 'ipam.address.>'"
        )
    if ">" in tokens[:-1]:
        raise BadInput(f"--subject {subject!r}: '>' must be the last token")
    if tokens[0] != ">" and len(tokens) == 1:
        raise BadInput(
            f"--subject {subject!r}: no event has this subject; write '{subject}.>' for all of them"
        )


async def _tail(subject: str, last: int | None, follow: bool, store: Store, output: Output) -> None:
    printed = False

    async def print_all(batches: AsyncIterator[list[tuple[str, Message]]]) -> None:
        nonlocal printed
        async for batch in batches:
            for role, message in batch:
                if matches(subject, message.subject):
                    print_event(role, message, output.json)
                    printed = True
            sys.stdout.flush()

    async with await open_store(
        store.access, store.layout, "events tail", ROLES, who=READ, looking=True
    ) as opened:
        printing = print_all(tail(opened, roles_of(subject), last, follow))
        await until_one_ends([printing, until_no_reader()])
    if not printed and not follow:
        among = "on the log" if last is None else f"among the last {last} of each stream (--all searches all)"
        print_error(f"no such event {among}")


def print_event(role: str, message: Message, as_json: bool) -> None:
    """Print one event on stdout."""
    event = codec.decode(message.body)
    if as_json:
        shown = {
            "stream": role,
            "seq": message.seq,
            "subject": message.subject,
            "id": message.id,
            "time": message.stored,
            "cause": message.cause,
        }
        if isinstance(event, codec.Parked):
            console.as_json(shown | {"parked": event.reason, "body": event.body.decode(errors="replace")})
        else:
            console.as_json(shown | {"event": event})
    elif isinstance(event, codec.Parked):
        print_line(f"{event_text.clock(message.stored)}  {role}/{message.seq}  {event.reason}")
    else:
        print_line(event_text.line(role, message, event))
