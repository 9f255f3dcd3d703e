"""Lists in pages, and single requests, of one resource: bounded in size, and in rate to protect the server.

A list without a resourceVersion is a quorum read of the store, never of a cache.
"""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from romana_bus import metrics, tasks
from romana_bus.events import version_number
from romana_bus.kubernetes.api import read
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.objects import ListMeta, Meta, Page, Shape
from romana_bus.producers.kubernetes.responses import Action, Verdict, classify
from romana_bus.producers.kubernetes.watch_stream import shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from romana_bus.events import Event
    from romana_bus.kubernetes.api import Api
    from romana_bus.producers.kubernetes.objects import Kind
    from romana_bus.producers.kubernetes.progress import Progress, Watched

T = TypeVar("T")

#: Limits of what is accepted: pages of one list, objects on one page.
MOST_PAGES, MOST_ITEMS = 10_000, 100_000
#: The most bytes of a `continue` token.
LONGEST_TOKEN = 16_384


class Again(Exception):
    """A request failed; the verdict says what to do."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.why)
        self.verdict = verdict


class Limits(NamedTuple):
    """Limits of a watch; times in seconds.

    `page`: objects on one page of a list. `timeout`: range of the random duration of a watch, so that many
    watches do not end together. `silence`: without a byte after which a connection counts as dead (the server
    sends a bookmark within 94 s). `quiet`: without an event after which the server is asked for its version.
    `initial`: between two initial events of a streaming list. `backoff`: between attempts, doubled from the
    first value to the second, with jitter. `burst`: connections that may follow each other at once, and per
    second after that. `lists`: at least between two lists. `look`: until doubted entities are checked
    again."""

    page: int = 500
    timeout: tuple[int, int] = (240, 360)
    silence: float = 150.0
    quiet: float = 30.0
    initial: float = 20.0
    backoff: tuple[float, float] = (0.5, 30.0)
    burst: tuple[float, float] = (5.0, 1.0)
    lists: float = 1.0
    look: float = 1.0


class EventSink(Protocol):
    """Takes events, and notes that the server has answered."""

    async def tell(self, make: Callable[[], list[Event]]) -> None: ...
    def worked(self) -> None: ...


class Watch(EventSink, Protocol):
    """What the parts of a watch need of `resource_watch.ResourceWatch`."""

    @property
    def progress(self) -> Progress: ...
    def well(self) -> None: ...
    def note(self, what: str, why: str) -> None: ...
    def relist(self, why: str) -> None: ...


class _Named(Shape, frozen=True):
    metadata: Meta


class _Where(msgspec.Struct):
    """A list, decoded without its items."""

    metadata: ListMeta


_where = msgspec.json.Decoder(_Where)
_raw = msgspec.json.Decoder(Page[msgspec.Raw])
_named = msgspec.json.Decoder(_Named)
_names = msgspec.json.Decoder(Page[_Named])


class Pages:
    """Requests for one resource."""

    def __init__(self, api: Api, kind: Kind, state: Watched, limits: Limits, watch: EventSink) -> None:
        self.kind, self.state, self.limits = kind, state, limits
        self.generation = 0  # of the credentials that the last request used
        self._api, self._watch = api, watch
        self._listed_at = -limits.lists

    async def may_list(self) -> None:
        """Wait until the last list is long enough ago."""
        while (pause := self._listed_at + self.limits.lists - tasks.monotonic()) > 0:
            await asyncio.sleep(pause)  # another task that waited too may have been first
        self._listed_at = tasks.monotonic()

    def refused(self) -> None:
        """The last request was not a list: the next list need not wait."""
        self._listed_at = -self.limits.lists

    async def get(
        self, query: Mapping[str, str], verb: str, silence: float, path: str = ""
    ) -> aiohttp.ClientResponse:
        """An answer with status 200. `path`: if not that of the whole list. Raises Again, NETWORK_ERRORS."""
        self.generation = self._api.generation
        answer = await self._api.get(path or self.kind.path, query, silence)
        if answer.status == 200:
            self._watch.worked()
            return answer
        async with answer:
            body = await read(answer, most=1 << 20, within=30.0)
        raise Again(classify(answer.status, answer.headers, body, self.kind, verb))

    async def where(self) -> str:
        """The current version of the API server's store. Raises Again, NETWORK_ERRORS."""
        body = await self._body({"limit": "1"})
        return _read_as(_where, body).metadata.resource_version

    async def version_of(self, key: str) -> int | None:
        """The version of one object on the server; None if it does not exist. Raises Again,
        NETWORK_ERRORS."""
        namespace, _, name = key.rpartition("/")
        start, _, plural = self.kind.path.rpartition("/")
        path = f"{start}/namespaces/{quote(namespace, safe='')}/{plural}" if namespace else self.kind.path
        body = await self._body({"fieldSelector": f"metadata.name={name}", "limit": "1"}, path)
        items = _read_as(_names, body).items or ()
        versions = [item.metadata.resource_version for item in items if item.metadata.name == name]
        return version_number(versions[0]) if versions else None

    async def all(
        self,
        begin: Callable[[], Awaitable[None]] | None = None,
        starting: Callable[[], None] | None = None,
        counts: Callable[[], bool] = lambda: True,
    ) -> str:
        """Read all pages of one consistent list, and publish each; returns the list's version. `starting`:
        called before the first request; `begin`: after the first answer; `counts`: whether the list is still
        needed. Raises Again, NETWORK_ERRORS."""
        await self.may_list()
        if starting:
            starting()
        following = ""
        for number in range(MOST_PAGES):
            query = {"limit": str(self.limits.page)} | ({"continue": following} if following else {})
            page = self._decoded(await self._body(query))
            if not number and begin:
                await begin()
            metrics.WATCH_EVENTS.labels(self.kind.name).inc(len(page.items or ()))
            await self._watch.tell(functools.partial(self._listed, page.items or (), counts))
            before, following = following, page.metadata.continue_
            if not following:
                return page.metadata.resource_version
            if following == before or len(following) > LONGEST_TOKEN or not page.items:
                raise Again(
                    Verdict(Action.RETRY, "a list without an end: its `continue` token does not advance")
                )
        raise Again(Verdict(Action.RETRY, f"a list of more than {MOST_PAGES:,} pages"))

    async def _body(self, query: Mapping[str, str], path: str = "") -> bytes:
        async with await self.get(query, "list", self.limits.silence, path) as answer:
            return await read(answer)

    def _decoded(self, body: bytes) -> Page[Any]:
        """A page with decoded items; if one of them cannot be decoded, with items as bytes. Raises Again."""
        page: Page[Any]
        try:
            page = self.kind.pages.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            page = _read_as(_raw, body)
        if len(page.items or ()) > MOST_ITEMS:
            raise Again(Verdict(Action.RETRY, f"a page of {len(page.items or ()):,} objects"))
        return page

    def _listed(self, items: Any, counts: Callable[[], bool]) -> list[Event]:
        if not counts():
            raise Again(Verdict(Action.RETRY, "another list has begun"))
        events: list[Event] = []
        for item in items:
            try:
                whole = self.kind.item.decode(item) if isinstance(item, msgspec.Raw) else item
                events += observe.listed(self.state, self.kind, (whole,))
            except (ValueError, TypeError, RecursionError) as error:
                observe.unread(self.state, self.kind, _key(item), str(error)[:200])
        return events


def _read_as(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The decoded body. Raises Again if it cannot be decoded."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Again(Verdict(Action.RETRY, f"a list that cannot be read: {error}: {shown(body)}")) from None


def _key(item: Any) -> str:
    """NAMESPACE/NAME of an item that cannot be read; '' if not even its name can be read."""
    try:
        meta = _named.decode(item).metadata if isinstance(item, msgspec.Raw) else item.metadata
    except (ValueError, TypeError, AttributeError, RecursionError):
        return ""
    return f"{meta.namespace}/{meta.name}" if meta.name else ""
