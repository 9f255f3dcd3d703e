"""What is remembered of pods: the facts about them.

They are kept by the hundred thousand, so they are small, share their strings, and hold no reference back
to what holds them (`gc=False`).
"""

from __future__ import annotations

import contextlib

import msgspec

from romana_bus.events import KUBE
from romana_bus.inet import parse_address
from romana_bus.ipam.model.annotations import Wish
from romana_bus.ipam.model.uids import Ident, text_of

#: How much of a pod's stamp is the sequence: enough for 1,000 facts a second and two years.
SEQ_BITS = 36
LAST_SEQ = (1 << SEQ_BITS) - 1


class Asks(msgspec.Struct, gc=False, frozen=True):
    """What most pods have not. `ips`: what it reports, joined by ','; AS_GIVEN where that is what it has
    from us. `unfit`: why it wants no address of ours, '' if it does. `wish`: what it asks for."""

    segment: str = ""
    ips: str = ""
    unfit: str = ""
    wish: Wish | None = None


AS_GIVEN = "="
#: Why a pod wants no address of ours.
HOST_NETWORK = "the pod uses the host's network"
#: The same, of one that an audit did not find.
ABSENT = "the API server has no such pod"
PLAIN, CONTENT = Asks(), Asks(ips=AS_GIVEN)


def asks(segment: str, ips: str, unfit: str, wish: Wish | None) -> Asks:
    if segment or unfit or wish is not None:
        return Asks(segment, ips, unfit, wish)
    return PLAIN if not ips else CONTENT if ips == AS_GIVEN else Asks("", ips)


class Pod(msgspec.Struct, gc=False, eq=False):
    """A pod in the API. `key`: NAMESPACE/NAME. `ident`: its uid, as `idents.py` has it. `stamp`: the
    resource version, and the sequence of the fact that told (for causes), in one integer."""

    key: str
    node: str
    ident: Ident
    stamp: int
    asks: Asks

    @property
    def tenant(self) -> str:
        return self.key.partition("/")[0]

    @property
    def uid(self) -> str:
        return text_of(self.ident)

    @property
    def version(self) -> int:
        return self.stamp >> SEQ_BITS

    @property
    def seq(self) -> int:
        return self.stamp & LAST_SEQ

    @property
    def cause(self) -> str:
        """STREAM/SEQUENCE of what told."""
        seq = self.stamp & LAST_SEQ
        return f"{KUBE}/{seq}" if seq else ""

    @property
    def segment(self) -> str:
        return self.asks.segment

    @property
    def unfit(self) -> str:
        return self.asks.unfit

    @property
    def wish(self) -> Wish | None:
        return self.asks.wish

    @property
    def ips(self) -> str:
        return self.asks.ips

    @property
    def reported(self) -> list[tuple[int, int]]:
        """`ips`, those of them that are addresses; none where it has them from us."""
        found = []
        for text in self.ips.split(",") if self.ips and self.ips != AS_GIVEN else ():
            with contextlib.suppress(ValueError):
                found.append(parse_address(text))
        return found


def stamp(version: int, seq: int) -> int:
    """`version`: 0 where it is no number."""
    return version << SEQ_BITS | min(seq, LAST_SEQ)


class Sandbox(msgspec.Struct, gc=False, frozen=True):
    """One that a kubelet asked for. `ident`: the pod's uid, as `uids.py` has it. `seq`: of the request."""

    ident: Ident
    seq: int
