"""Records: what was decided for a pod's name on a node. There are as many of them as pods.

A record has the addresses that the name holds, and those that still cool down; or why it has none.
"""

from __future__ import annotations

import msgspec

from romana_bus.ipam.model.blocks import Block
from romana_bus.ipam.model.uids import Ident, text_of


class Held(msgspec.Struct, gc=False, frozen=True):
    """An address, as an offset from its block's base."""

    block: Block
    offset: int

    @property
    def address(self) -> str:
        return self.block.address(self.offset)

    @property
    def numeric(self) -> tuple[int, int]:
        """Width and value of the address."""
        return self.block.prefix.width, self.block.prefix.base + self.offset


class Cooling(Held, gc=False, frozen=True):
    """An address that was released and is free again at `until` (µs). `kept`: for a pod of the same name that
    wants it back. `ident`: the uid of the pod that may still run with it, where that is not the record's."""

    until: int
    kept: bool = False
    ident: Ident = ""


class Rest(msgspec.Struct, gc=False, frozen=True):
    """What most records do not have: `more` addresses than one, a denial, `retention` ..."""

    more: tuple[Held, ...] = ()
    cooling: tuple[Cooling, ...] = ()
    code: str = ""
    reason: str = ""
    retention: int = 0


NOTHING = Rest()


class Record(msgspec.Struct, gc=False, eq=False):
    """The newest address event of a pod's name on a node. `code`, `reason`: of a denial. `retention`: µs
    for which the name keeps its addresses. `block`, `offset`: the first address held."""

    key: str
    ident: Ident
    segment: str
    block: Block | None
    offset: int
    rest: Rest

    @property
    def uid(self) -> str:
        return text_of(self.ident)

    @property
    def held(self) -> tuple[Held, ...]:
        return () if self.block is None else (Held(self.block, self.offset), *self.rest.more)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses held, as text."""
        return tuple(held.address for held in self.held)

    @property
    def cooling(self) -> tuple[Cooling, ...]:
        return self.rest.cooling

    @property
    def code(self) -> str:
        return self.rest.code

    @property
    def reason(self) -> str:
        return self.rest.reason

    @property
    def retention(self) -> int:
        return self.rest.retention

    @property
    def empty(self) -> bool:
        return self.block is None and not (self.rest.cooling or self.rest.code)

    @property
    def ips(self) -> str:
        """The addresses held, as a pod reports them."""
        return ",".join(self.addresses)

    def cool(self, cooling: tuple[Cooling, ...]) -> None:
        """Replaces the cooling addresses: the others have cooled down."""
        rest = self.rest
        self.rest = _rest(rest.more, cooling, rest.code, rest.reason, rest.retention)


def _rest(
    more: tuple[Held, ...], cooling: tuple[Cooling, ...], code: str, reason: str, retention: int
) -> Rest:
    if more or cooling or code or retention:
        return Rest(more, cooling, code, reason, retention)
    return NOTHING


def make_record(
    key: str, ident: Ident, held: tuple[Held, ...] = (), cooling: tuple[Cooling, ...] = (), *,
    segment: str = "", code: str = "", reason: str = "", retention: int = 0,
) -> Record:  # fmt: skip
    """Builds the record of an address event, for the leader that decides it and for replicas that read it."""
    rest = _rest(held[1:], cooling, code, reason, retention)
    if not held:
        return Record(key, ident, "", None, 0, rest)
    return Record(key, ident, segment, held[0].block, held[0].offset, rest)
