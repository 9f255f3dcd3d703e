"""The address log, walked from its first message to its last: who had what, when. Told from what was
published alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.events import (
    AddressAssigned,
    AddressDenied,
    AddressReleased,
    BlockAssigned,
    BlockReleased,
    LeaderElected,
)
from romana_bus.inet import Prefix, parse_address, parse_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.events import AddressEvent
    from tests.chaos.ending import Stored


class Ledger:
    """`owners`: address -> subject of the pod's entity; `cooling`: address -> when it has cooled;
    `blocks`: prefix -> node; `free_at`: prefix -> when others may have it, and whose it was."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.held: dict[str, set[str]] = {}
        self.cooling: dict[str, int] = {}
        self.blocks: dict[Prefix, str] = {}
        self.free_at: dict[Prefix, tuple[int, str]] = {}
        self.term, self.writer = 0, ""

    def walk(self, log: Iterable[Stored]) -> None:
        for stored in log:
            try:
                self._step(stored)
            except AssertionError as error:
                raise AssertionError(f"IPAM/{stored.seq} {stored.event}: {error}") from None

    def _step(self, stored: Stored) -> None:
        self._written_by_its_leader(stored)
        match stored.event:
            case BlockAssigned() as event:
                self._block_assigned(event, stored.time)
            case BlockReleased() as event:
                self._block_released(event)
            case AddressAssigned() | AddressDenied() | AddressReleased() as event:
                self._address(event, stored.time)

    def _written_by_its_leader(self, stored: Stored) -> None:
        """Behind an election, until the next one, there is not one message of anybody else."""
        writer, _, number = stored.id.rpartition("/")
        if isinstance(stored.event, LeaderElected):
            assert stored.event.term == self.term + 1, f"the term before was {self.term}"
            assert writer != self.writer, "elected a second time"
            self.term, self.writer = stored.event.term, writer
        assert writer == self.writer, f"{self.writer} leads"
        assert int(number) == stored.seq
        assert writer.startswith(f"ipam/{self.term}-")

    def _block_assigned(self, event: BlockAssigned, time: int) -> None:
        block = parse_prefix(event.block)
        for other, node in self.blocks.items():
            assert other == block or not other.overlaps(block), f"{other} is {node}'s"
        assert self.blocks.get(block, event.node) == event.node, f"is {self.blocks[block]}'s"
        until, node = self.free_at.pop(block, (0, ""))
        assert until <= time or node == event.node, f"cools until {until}, assigned at {time}"
        self.blocks[block] = event.node

    def _block_released(self, event: BlockReleased) -> None:
        block = parse_prefix(event.block)
        assert self.blocks.pop(block, "") == event.node, "is not that node's"
        inside = [address for address in self.owners if _contains(block, address)]
        assert not inside, f"still in use: {inside}"
        self.free_at[block] = (event.until, event.node)

    def _address(self, event: AddressEvent, time: int) -> None:
        subject = event.subject()
        given = {address.address for address in getattr(event, "addresses", ())}
        cooling = {address.address: address.until for address in event.cooling}
        for address in self.held.pop(subject, set()) - given:
            assert address in cooling, f"{address} is given up without a cooldown"
            del self.owners[address]
        for address in given:
            self._given(event, address, time)
            self.owners[address] = subject
        self.cooling |= cooling
        if given:
            self.held[subject] = given

    def _given(self, event: AddressEvent, address: str, time: int) -> None:
        owner = self.owners.get(address, event.subject())
        assert owner == event.subject(), f"{address} is {owner}'s"
        assert self.cooling.get(address, 0) <= time, f"{address} cools until {self.cooling[address]}"
        [node] = [node for block, node in self.blocks.items() if _contains(block, address)]
        assert node == event.node, f"{address} is in a block of {node}"


def _contains(block: Prefix, address: str) -> bool:
    width, value = parse_address(address)
    return width == block.width and block.base <= value < block.end
