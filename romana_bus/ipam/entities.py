"""What is remembered of nodes and pods: the facts about them, and what was decided for them.

These are kept by the hundred thousand, so they are small, share their strings, and hold no reference
back to what holds them (`gc=False`).
"""

from __future__ import annotations

import contextlib

import msgspec

from romana_bus.events import HostDenied, HostPlaced
from romana_bus.inet import parse_address
from romana_bus.ipam.blocks import Block, Chain, ChainKey
from romana_bus.ipam.idents import Ident, text_of
from romana_bus.ipam.spaces import Space
from romana_bus.ipam.wishes import Wish

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
        return (self.stamp >> SEQ_BITS) - 1

    @property
    def seq(self) -> int:
        return self.stamp & LAST_SEQ

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
    """A version of -1, newer than anything, sorts before all of them."""
    return version + 1 << SEQ_BITS | min(seq, LAST_SEQ)


class Held(msgspec.Struct, gc=False, frozen=True):
    block: Block
    offset: int


class Cooling(msgspec.Struct, gc=False, frozen=True):
    """`kept`: for a pod of the same name that wants it back."""

    block: Block
    offset: int
    until: int
    kept: bool = False


class Rest(msgspec.Struct, gc=False, frozen=True):
    """What most records have not: `more` addresses than one, a denial, `retention` ..."""

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
        """The addresses held as a pod reports them."""
        return ",".join(held.block.address(held.offset) for held in self.held)

    def cool(self, cooling: tuple[Cooling, ...]) -> None:
        """Only that is left of what cooled."""
        rest = self.rest
        self.rest = remaining(rest.more, cooling, rest.code, rest.reason, rest.retention)


def remaining(
    more: tuple[Held, ...], cooling: tuple[Cooling, ...], code: str = "", reason: str = "", retention: int = 0
) -> Rest:
    if more or cooling or code or retention:
        return Rest(more, cooling, code, reason, retention)
    return NOTHING


class Host(msgspec.Struct, gc=False, eq=False):
    """A node: in the API (`seen`), or only remembered for what it still has.

    `leaves` (one place for each network), `offers` (of everyone's networks), `chains`, `idle` (its blocks
    without any address) and `waiting` (its pods that were denied) follow from the rest; `layout.py` keeps
    them.
    """

    name: str
    seen: bool = False
    uid: str = ""
    version: int = -1
    seq: int = 0
    addresses: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    placed: HostPlaced | None = None
    denied: HostDenied | None = None
    blocks: dict[str, Block] = {}
    records: dict[str, Record] = {}
    leaves: tuple[int, ...] = ()
    offers: tuple[tuple[Space, ...], ...] = ()
    chains: dict[ChainKey, Chain] = {}
    idle: dict[str, Block] = {}
    waiting: set[str] = set()

    @property
    def empty(self) -> bool:
        return not (self.seen or self.placed or self.denied or self.blocks or self.records)


class Gone:
    """Versions and sequences of what was deleted, remembered for at least `period`, so that an older
    fact does not bring it back."""

    def __init__(self) -> None:
        self._young: dict[str, tuple[int, int]] = {}
        self._old: dict[str, tuple[int, int]] = {}
        self._turned = 0

    def put(self, name: str, version: int, seq: int) -> None:
        self._young[name] = (version, seq)

    def version(self, name: str) -> int:
        return self._of(name)[0]

    def seq(self, name: str) -> int:
        return self._of(name)[1]

    def _of(self, name: str) -> tuple[int, int]:
        return self._young.get(name) or self._old.get(name) or (-1, 0)

    def drop(self, name: str) -> None:
        self._young.pop(name, None)
        self._old.pop(name, None)

    def forget(self) -> None:
        """The sequences stay: they are causes."""
        for names in (self._young, self._old):
            names.update({name: (-1, seq) for name, (_, seq) in names.items()})

    def turn(self, now: int, period: int) -> None:
        if now - self._turned >= period:
            self._old = self._young if self._turned else {**self._old, **self._young}
            self._young = {}
            self._turned = now


class Ended(msgspec.Struct, gc=False, frozen=True):
    """An operator's word that what a pod has of `addresses` ends. `cause`: STREAM/SEQUENCE of it."""

    addresses: frozenset[str]
    reason: str
    cause: str

    def ends(self, record: Record) -> bool:
        return any(held.block.address(held.offset) in self.addresses for held in record.held)


def misfit(host: Host, record: Record, pod: Pod | None) -> str:
    """Why what `record` says has to end, or ''."""
    if pod is None:
        return "the pod is gone"
    if pod.node != host.name:
        return f"the pod is on node {pod.node} now" if pod.node else "the pod is on no node now"
    if pod.asks.unfit:
        return pod.asks.unfit
    if record.block is not None and pod.ident != record.ident:
        return "a new pod of the same name took its place"
    if record.block is not None and not host.seen:
        return node_gone(host)
    return ""


def node_gone(host: Host) -> str:
    return f"node {host.name} is gone"


def pod_key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}"


def pod_order(key: str) -> tuple[str, str]:
    """Sorts as (namespace, name) does; the key itself would not: '-' and '.' come before '/'."""
    namespace, _, name = key.partition("/")
    return namespace, name


def number(version: str) -> int:
    """A resource version that compares; -1, newer than anything, where it is no number."""
    return int(version) if version.isdecimal() else -1


def outdated(version: int, held: int) -> bool:
    return 0 <= version < held
