"""The same hostile input, without processes: each parser gives what it promises, or its own error."""

from __future__ import annotations

import contextlib
import random
from typing import TYPE_CHECKING, Any, Self, cast

import pytest

from romana_bus.bus.api import Message
from romana_bus.cli.common import event_text
from romana_bus.cni import frame, spec
from romana_bus.cni.spec import CniError
from romana_bus.consumers.pod_addresses import OwnAddresses, projection
from romana_bus.events import IPAM, KUBE, NODE, SPEC, Event, LeaderElected, PodSeen, codec
from romana_bus.ipam import Settings, State, Tick, decide, evolve
from romana_bus.producers.kubernetes import observe, progress
from romana_bus.producers.kubernetes.objects import BUILT_IN, PODS, Kind, other_kind
from romana_bus.producers.kubernetes.pages import Again, Limits, Pages
from romana_bus.producers.kubernetes.progress import Watched
from romana_bus.producers.kubernetes.responses import Action, classify, unwatchable
from romana_bus.producers.kubernetes.watch_stream import WatchStream
from romana_bus.runtime.parked import ParkedMessages
from tests.fuzz import hostile_answers, hostile_events, hostile_frames, hostile_json
from tests.fuzz.hostile_messages import Messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from romana_bus.kubernetes.api import Api

KINDS = [
    *BUILT_IN,
    other_kind("example.org", "v1", "widgets"),
    other_kind("", "v1", "services", ["spec.type"]),
]
every_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
#: Inputs of each kind.
MANY = 300


def readable() -> Iterator[Event]:
    """Events that were never written by us, and that nothing is wrong with as far as their types go."""
    for body in hostile_events.every_wrong_field():
        if len(body) < 10_000 and isinstance(event := codec.decode(body), Event):
            yield event


def test_each_wrong_value_in_each_field_of_each_event_is_read_or_parked() -> None:
    read = parked = 0
    for body in hostile_events.every_wrong_field():
        if len(body) > 30_000:
            continue  # of which one is enough: see below
        event = codec.decode(body)
        if isinstance(event, Event):
            read += 1
            assert codec.decode(codec.encode(event)) == event
            assert event.subject()
        else:
            parked += 1
            assert 0 < len(event.reason) < 400
    assert read > 1000
    assert parked > 5000


@pytest.mark.parametrize("at", range(len(hostile_json.VALUES)))
def test_large_values_are_accepted_or_refused(at: int) -> None:
    value = hostile_json.VALUES[at]
    assert isinstance(codec.decode(value), codec.Parked)
    for body in (b'{"type":"PodSeen","x":' + value, b'{"type":"TopologySet","document":{"a":%s}}' % value):
        codec.decode(body)


@pytest.mark.parametrize("at", range(len(hostile_json.DOCUMENTS)))
def test_no_document_is_an_event(at: int) -> None:
    assert isinstance(codec.decode(hostile_json.DOCUMENTS[at]), codec.Parked)


def test_decoded_events_can_be_folded_decided_and_printed() -> None:
    """By everybody who reads it, one behind the other."""
    state, watched, own = State(Settings()), Watched(), projection("ghost", OwnAddresses())
    addresses = own.initial()
    for seq, event in enumerate(readable(), 1):
        evolve(state, event, seq)
        progress.evolve(watched, event, seq)
        own.evolve(addresses, event, seq)
        event_text.line(IPAM, Message(seq, event.subject(), b""), event)
        if seq % 100 == 0:
            evolve(state, Tick(seq))
            decide(state)


PODS_SEEN = [
    PodSeen(resource_version="1", uid="u", namespace="web", name=f"p{at}", node="n1") for at in range(5)
]
REAL = [Message(seq, pod.subject(), codec.encode(pod)) for seq, pod in enumerate(PODS_SEEN, 1)]


@pytest.mark.parametrize("role", [KUBE, SPEC, IPAM, NODE])
def test_message_matches_its_subject_or_is_parked(role: str) -> None:
    drawn, flaws = Messages(random.Random(role), REAL), ParkedMessages("test")
    for seq in range(1, MANY):
        sent = drawn.next()
        message = Message(seq, sent.subject.decode(errors="replace"), sent.body, sent.headers)
        assert isinstance(message.time, int)
        assert isinstance(message.id + message.cause, str)
        event = flaws.read(message, role)
        if event is None:
            assert (flaws.kept[-1].seq, flaws.kept[-1].subject) == (seq, message.subject)
        else:
            assert event.subject() == message.subject
            assert "ghost" in message.subject or isinstance(event, LeaderElected)
    assert flaws.count > MANY / 2


@every_kind
@pytest.mark.parametrize("listing", [False, True], ids=["watch", "streaming list"])
def test_watch_line_gives_events_or_an_error(kind: Kind, listing: bool) -> None:
    chance, state = random.Random(kind.name), Watched()
    for _ in range(MANY):
        observe.begin_listing(state, kind, "test")
        if not listing:
            observe.end_listing(state, kind, "5", 0.0)
        parsed = WatchStream(kind, state, listing).feed(hostile_answers.line(chance) + b"\n")
        assert parsed.trouble is None or (parsed.trouble.do in Action and len(parsed.trouble.why) <= 1000)
        for event in parsed.events:
            assert codec.decode(codec.encode(event)) == event


class Answering:
    """An API server that gives these bodies, one after the other, and has no more to say."""

    generation = 0

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = list(bodies)

    async def get(self, *_: object) -> Answer:
        return Answer(self.bodies.pop(0)) if self.bodies else Answer(b"", 503)


class Answer:
    def __init__(self, body: bytes, status: int = 200) -> None:
        self.status, self.content, self.headers = status, self, dict[str, str]()
        self._body = body

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...


class Reported:
    async def tell(self, make: Callable[[], list[Event]]) -> None:
        for event in make():
            assert codec.decode(codec.encode(event)) == event

    def worked(self) -> None: ...


@every_kind
async def test_list_page_gives_events_or_is_requested_again(kind: Kind) -> None:
    chance, state = random.Random(kind.name), Watched()
    limits, whole = Limits(lists=0.0), 0
    for _ in range(MANY // 3):
        api: Any = Answering(hostile_answers.page(chance), hostile_answers.page(chance))
        observe.begin_listing(state, kind, "test")
        try:
            version = await Pages(cast("Api", api), kind, state, limits, Reported()).all()
            observe.end_listing(state, kind, version, 0.0)
            whole += 1
        except Again:
            continue
    assert whole


def test_any_answer_is_classified() -> None:
    chance = random.Random(1)
    for _ in range(MANY):
        code = chance.choice((0, 200, 299, 400, 401, 403, 404, 405, 410, 422, 429, 500, 503, 504, 999))
        body = hostile_answers.page(chance)
        headers = {"Retry-After": chance.choice(("9" * 5000, "-1", "soon", "1e9", "٣", ""))}
        verdict = classify(code, headers, body, PODS, chance.choice(("list", "watch", "streaming list")))
        assert 0 <= verdict.after <= 300
        assert isinstance(unwatchable(body, PODS), str)


def test_any_frame_is_a_call_or_refused() -> None:
    chance = random.Random(1)
    for _ in range(MANY * 10):
        try:
            asked = frame.request(hostile_frames.body(chance))
        except ValueError:
            continue
        assert spec.version_of(asked.config) in spec.VERSIONS
        with contextlib.suppress(CniError):
            spec.previous(spec.parse(*asked).config)
