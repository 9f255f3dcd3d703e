"""Messages for the log, as anybody may send them who reaches NATS: subject, headers and body.

What they are not: an operator's or an agent's own word (a readable event under its own subject, on SPEC or
NODE), or one that can be read about something real, whoever wrote it. Those would rightly change what is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from romana_bus.events import NODE, SPEC, STREAMS, Event, LeaderElected, codec
from tests.fuzz import hostile_events, hostile_json
from tests.fuzz.hostile_events import GHOST

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from romana_bus.bus.api import Message


class Sent(NamedTuple):
    """`subject`: without the cluster's prefix. `headers`: the whole block, b'' for none."""

    subject: bytes
    headers: bytes
    body: bytes


#: Tokens that NATS takes in a subject.
_ODD = (
    GHOST.encode(), b"-", b"x" * 200, b"%", b"%2D", b"%zz", b"%ff", b"a%2Eb", b"\xff\xfe", "ü€😀".encode(),
    b"\x01", b"\x1b[2J", b"\x7f",
    b"$JS", b"_INBOX", b"a/b", b"'", b'"', b"\\", b"{}", b"a,b", b"a:b", b"*", b">", b"**", b"a*", b"=",
    b"0" * 60, b"leader",
)  # fmt: skip
#: How the subjects of each stream go on.
_BRANCHES: dict[str, tuple[bytes, ...]] = {
    "kube": (b"pod", b"node", b"namespace", b"policy", b"object", b"synced", b"leader"),
    "spec": (b"topology", b"reserve", b"disowned", b"listing"),
    "ipam": (b"map.host", b"map.block", b"map.group", b"address", b"topology", b"leader"),
    "node": (b"ghost.cni", b"ghost", b"-.parked", b"-.foreign"),
}
_HEADERS = (
    b"", b"Romana-Time: yesterday", b"Romana-Time: 9999-99-99T99:99:99Z",
    b"Romana-Time: 0001-01-01T00:00:00+23:59",
    b"Romana-Time: 2999-01-01T00:00:00Z", b"Romana-Time: " + b"9" * 5000, b"Romana-Time: \xff\xfe",
    b"Romana-Time:",
    b"Romana-Time: 2020-01-01T00:00:00Z\r\nRomana-Time: never", b"Romana-Cause: \xff/\xfe",
    b"Romana-Cause: IPAM/" + b"9" * 5000,
    b"Romana-Cause: " + b"/" * 1000, b"Romana-Cause: \x1b[2J", b"Nats-Msg-Id: ", b"Nats-Msg-Id: \xff",
    b"no colon", b": no name", b"X: " + b"h" * 60_000, b"\xc3\x28: \xf0\x28\x8c\x28", b"A: 1\r\nA: 2\r\na: 3",
    *(b"Nats-Msg-Id: " + one for one in (b"i" * 5000, b"kube/1-0/1", b"ipam/99999999999999999999-x/-1",
    b"//", b"uid/1", b"\t")),
)  # fmt: skip


class Messages:
    """`real`: what is on the log, by role. What is drawn depends on it and on the seed alone."""

    def __init__(self, chance: random.Random, real: Sequence[Message]) -> None:
        self._chance = chance
        self._real = [one for one in real if _is_real(one)]
        self._ghosts = hostile_events.well_formed(GHOST)

    def next(self) -> Sent:
        while True:
            sent = self._drawn()
            if self._is_junk(sent):
                return sent

    def _drawn(self) -> Sent:
        body = self._body()
        return Sent(self._subject(body), self._headers(), body[:1_000_000])

    def _body(self) -> bytes:
        match self._chance.randrange(6):
            case 0:
                return hostile_json.document(self._chance)
            case 1 | 2:
                return hostile_events.wrong_field(self._chance)
            case 3:
                return codec.encode(self._chance.choice(self._ghosts))
            case _:
                return hostile_json.damaged(self._chance, self._chance.choice(self._real).body)

    def _subject(self, body: bytes) -> bytes:
        """Of something real; its own; of anything at all."""
        chance = self._chance
        kind = chance.random()
        if kind < 0.4:
            return chance.choice(self._real).subject.encode()
        if kind < 0.6 and isinstance(event := codec.decode(body), Event) and (own := subject_of(event)):
            return own.encode(errors="surrogatepass")
        first = chance.choice(STREAMS).token
        rest = [chance.choice(_ODD) for _ in range(chance.choice((0, 1, 1, 2, 2, 3, 4, 12)))]
        branch = chance.choice(_BRANCHES[first]) if chance.random() < 0.8 else chance.choice(_ODD)
        return b".".join([first.encode(), branch, *rest])

    def _headers(self) -> bytes:
        if self._chance.random() < 0.6:
            return b""
        lines = [self._chance.choice(_HEADERS) for _ in range(self._chance.choice((1, 1, 2, 5)))]
        return b"NATS/1.0\r\n" + b"".join(line + b"\r\n" for line in lines if line) + b"\r\n"

    def _is_junk(self, sent: Sent) -> bool:
        event = codec.decode(sent.body)
        if isinstance(event, codec.Parked):
            return True
        own = subject_of(event)
        role = sent.subject.partition(b".")[0].upper().decode()
        if role in (NODE, SPEC):
            return own.encode(errors="surrogatepass") != sent.subject
        return GHOST in own or isinstance(event, LeaderElected)


def _is_real(message: Message) -> bool:
    """No junk of an earlier round. Who leads is another question."""
    event = codec.decode(message.body)
    if isinstance(event, codec.Parked | LeaderElected):
        return False
    return subject_of(event) == message.subject


def subject_of(event: Event) -> str:
    """'' where it has none that NATS takes."""
    try:
        subject = event.subject()
    except ValueError:
        return ""
    return "" if len(subject) > 1000 or any(one.isspace() for one in subject) else subject


def flood(chance: random.Random, count: int) -> list[Sent]:
    """As many subjects, none of which is anybody's."""
    return [
        Sent(b"%s.map.host.flood-%d" % (chance.choice((b"kube", b"ipam", b"spec")), number), b"", b"{")
        for number in range(count)
    ]
