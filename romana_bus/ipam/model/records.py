"""Records: what was decided for a pod's name on a node. There are as many of them as pods.

A record has the addresses that the name holds, and those that still cool down; or why it has none.
"""

from __future__ import annotations

from copy import copy

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
    """What most records do not have: `more` addresses than one, a denial, `retention` ... `fixed`: bit n is
    set where the pod requested the address n of those that it holds."""

    more: tuple[Held, ...] = ()
    cooling: tuple[Cooling, ...] = ()
    code: str = ""
    reason: str = ""
    retention: int = 0
    fixed: int = 0


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
    def pinned(self) -> tuple[Held, ...]:
        """The addresses that count against the limits of a network: fixed, sticky, and retained ones."""
        rest = self.rest
        if not (rest.retention or rest.fixed):
            # Most records have a cooling address at most, and are replaced all the time.
            for cooling in rest.cooling:
                if cooling.kept:
                    break
            else:
                return ()
        held = self.held if rest.retention or rest.fixed else ()
        counted = [address for n, address in enumerate(held) if rest.retention or rest.fixed >> n & 1]
        return (*counted, *(cooling for cooling in rest.cooling if cooling.kept))

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
        self.rest = _rest(rest.more, cooling, rest.code, rest.reason, rest.retention, rest.fixed)

    def with_cooling(self, cooling: tuple[Cooling, ...]) -> Record:
        """The same record with other cooling addresses."""
        record = copy(self)
        record.cool(cooling)
        return record


def _rest(
    more: tuple[Held, ...], cooling: tuple[Cooling, ...], code: str, reason: str, retention: int, fixed: int
) -> Rest:
    if more or cooling or code or retention or fixed:
        return Rest(more, cooling, code, reason, retention, fixed)
    return NOTHING


def make_record(
    key: str, ident: Ident, held: tuple[Held, ...] = (), cooling: tuple[Cooling, ...] = (), *,
    segment: str = "", code: str = "", reason: str = "", retention: int = 0, fixed: int = 0,
) -> Record:  # fmt: skip
    """Builds the record of an address event, for the leader that decides it and for replicas that read it."""
    rest = _rest(held[1:], cooling, code, reason, retention, fixed)
    if not held:
        return Record(key, ident, "", None, 0, rest)
    return Record(key, ident, segment, held[0].block, held[0].offset, rest)
