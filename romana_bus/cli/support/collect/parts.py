"""The parts of a bundle as they are collected, before anything is taken out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.bus.api import BusError
from romana_bus.cli.doctor.gather.context import NotSeen
from romana_bus.errors import RomanaError
from romana_bus.netlink.socket import Interrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

#: Errors of a part: it is missing then, and the others are not.
ERRORS = (NotSeen, RomanaError, BusError, OSError, Interrupted, TimeoutError)


class Parts:
    """`documents`: file name -> JSON document; a list of events is one on each line. `texts`: file name ->
    text. `missing`: what is not in the bundle -> why."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.texts: dict[str, str] = {}
        self.missing: dict[str, str] = {}

    async def document(self, name: str, read: Callable[[], Awaitable[Any]]) -> None:
        """Add what `read` gives, or why it does not."""
        try:
            self.documents[name] = await read()
        except ERRORS as error:
            self.lack(name, error)

    def lack(self, name: str, why: object) -> None:
        self.missing[name] = " ".join(str(why).split()) or type(why).__name__
