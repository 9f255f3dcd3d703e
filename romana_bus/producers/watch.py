"""One resource, watched: list it or go on where the log stands, then follow it, whatever happens.

    resumes? ──no──► list (streaming, or in pages) ──► watch ──► the server closes it: watch again
       └─────yes──────────────────────────────────────┘  └─ 410: list    └─ silence, 5xx, garbage: watch again

The watch's place is the version of the last event or bookmark. What is published goes through
`observe.py`, so whatever is repeated puts nothing on the log twice.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import structlog

from romana_bus import telemetry
from romana_bus.errors import BadInput, Failed
from romana_bus.health import Health
from romana_bus.producers import observe
from romana_bus.producers.access import NETWORK_ERRORS, reason
from romana_bus.producers.answers import Do, Verdict, judge
from romana_bus.producers.story import Story, shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from romana_bus.events import Event
    from romana_bus.producers.access import Api
    from romana_bus.producers.observe import Watched
    from romana_bus.producers.shapes import Kind, Page

log = structlog.get_logger(__name__)


class Limits(NamedTuple):
    """`page`: objects on one page of a list. `timeout`: seconds until a watch is asked to end, drawn anew
    each time, so that watches of many do not end together. `silence`: seconds without a byte before a
    connection is taken for dead (the server sends a bookmark each minute). `backoff`: seconds between
    tries, doubled from the first to the last, and never in step with others."""

    page: int = 500
    timeout: tuple[int, int] = (240, 360)
    silence: float = 90.0
    backoff: tuple[float, float] = (0.5, 30.0)


class Again(Exception):
    """This did not work; the verdict says what to do."""

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.why)
        self.verdict = verdict


class ResourceWatch:
    """`publish` puts events on the log, in order, and waits when they come too fast."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        state: Watched,
        publish: Callable[[list[Event]], Awaitable[None]],
        limits: Limits = Limits(),
        health: Health | None = None,
    ) -> None:
        self._api, self._kind, self._state, self._publish, self._limits = api, kind, state, publish, limits
        self._health = health or Health()
        self._streaming = True
        self._worked = False  # the server has answered us once: from then on we never give up
        self._renewed = False
        self._reason = "first listing"
        self._watching: aiohttp.ClientResponse | None = None
        self._cut = False  # it was us who closed the connection

    async def run(self) -> None:
        """For ever. Raises Failed if the server refuses us before it has ever answered, and whatever
        `publish` raises."""
        first, most = self._limits.backoff
        delay = first
        while True:
            wait = 0.0
            try:
                self._cut = False
                self._reason = observe.wanted(self._state, self._kind) or self._reason
                if observe.resumes(self._state, self._kind):
                    await self._watch()
                else:
                    await self._list()
                delay = first
            except Again as again:
                wait = await self._mend(again.verdict, delay)
            except NETWORK_ERRORS as error:
                if not self._cut:
                    self._note("network", reason(error))
                    wait = delay
            if wait:
                await asyncio.sleep(wait * random.uniform(1.0, 1.3))
                delay = min(delay * 2, most)

    def look(self) -> None:
        """Somebody may want another listing: then the watch ends now; one that still lists, behind that."""
        listing = self._state.of(self._kind.name).listed is not None
        if self._watching is not None and not listing and observe.wanted(self._state, self._kind):
            self._cut = True
            self._watching.close()

    async def _mend(self, verdict: Verdict, delay: float) -> float:
        """What can be done about it at once; gives the seconds to wait before the next try."""
        match verdict.do:
            case Do.PAGES:
                self._streaming = False
                return 0.0
            case Do.RELIST:
                self._note("relist", verdict.why)
                self._state.of(self._kind.name).synced = False
                self._reason = verdict.why
            case Do.RENEW if not self._renewed:
                self._renewed = True
                return await self._renew(delay)
            case Do.RENEW:
                self._refused(
                    f"the API server does not accept our credentials, renewed ones neither ({verdict.why}): "
                    "check the kubeconfig's user, or the service account"
                )
            case Do.REFUSED:
                self._refused(verdict.why)
            case Do.RETRY:
                self._note("retry", verdict.why)
        return max(verdict.after, delay)

    async def _renew(self, delay: float) -> float:
        self._note("unauthorized", "renewing the credentials")
        try:
            await self._api.renew(self._generation)
        except BadInput as error:
            self._note("unauthorized", str(error))
            return delay
        return 0.0

    def _refused(self, why: str) -> None:
        """A person has to do something. At the start that ends us; later it may be mended under way."""
        if not self._worked:
            raise Failed(why)
        self._note("refused", why)

    def _note(self, what: str, why: str) -> None:
        telemetry.WATCH_TROUBLE.labels(self._kind.name, what).inc()
        telemetry.WATCH_SYNCED.labels(self._kind.name).set(0)
        log.warning(f"watch {what}", resource=self._kind.name, why=why)
        self._health.say(f"watch {self._kind.name}", why)

    def _well(self) -> None:
        telemetry.WATCH_SYNCED.labels(self._kind.name).set(1)
        self._health.say(f"watch {self._kind.name}", "")

    # --- listing ------------------------------------------------------------------------------------------

    async def _list(self) -> None:
        if self._streaming:
            await self._watch(listing=True)
            return
        kind, state = self._kind, self._state
        version = await self._list_pages()
        if behind := observe.went_back(state, kind, version):
            raise Again(Verdict(Do.RELIST, behind))
        await self._publish(observe.end_listing(state, kind, version))
        self._synced()

    async def _begin_listing(self) -> None:
        """Only once the server has begun to answer: until then the log is as good as it was."""
        telemetry.LISTINGS.labels(self._kind.name).inc()
        await self._publish(observe.begin_listing(self._state, self._kind, self._reason))

    async def _list_pages(self) -> str:
        """All pages of one consistent list; gives its version."""
        following = ""
        while True:
            query = {"limit": str(self._limits.page)} | ({"continue": following} if following else {})
            page = await self._get_page(query)
            if not following:
                await self._begin_listing()
            items = page.items or []
            telemetry.WATCH_EVENTS.labels(self._kind.name).inc(len(items))
            await self._tell(observe.listed(self._state, self._kind, items))
            following = page.metadata.continue_
            if not following:
                return page.metadata.resource_version

    async def _get_page(self, query: Mapping[str, str]) -> Page[object]:
        async with await self._get(query, "list") as answer:
            body = await answer.read()
        try:
            page: Page[object] = self._kind.pages.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Again(Verdict(Do.RETRY, f"a list that cannot be read: {error}: {shown(body)}")) from None
        return page

    def _synced(self) -> None:
        progress = self._state.of(self._kind.name)
        self._well()
        log.info("synced", resource=self._kind.name, version=progress.version, count=len(progress.held))

    # --- watching -----------------------------------------------------------------------------------------

    async def _watch(self, listing: bool = False) -> None:
        """One watch, until the server ends it. `listing`: a streaming list comes first."""
        seconds = random.randint(*self._limits.timeout)
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        if listing:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            query["resourceVersion"] = str(self._state.of(self._kind.name).version)
        story = Story(self._kind, self._state, listing)
        async with await self._get(query, "streaming list" if listing else "watch") as answer:
            if listing:
                await self._begin_listing()
            else:
                self._well()
            self._watching = answer
            try:
                self.look()
                while chunk := await answer.content.readany():
                    await self._hear(story, chunk)
            finally:
                self._watching = None
        if self._cut:
            return
        if story.listing:
            raise Again(Verdict(Do.RETRY, "the streaming list ended before it was complete"))
        await self._ended(story.lines)

    async def _hear(self, story: Story, chunk: bytes) -> None:
        before, listing = story.lines, story.listing
        told = story.feed(chunk)
        telemetry.WATCH_EVENTS.labels(self._kind.name).inc(story.lines - before)
        await self._tell(told.events)
        if told.trouble:
            raise Again(told.trouble)
        if listing and not story.listing:
            self._synced()
            self.look()

    async def _ended(self, lines: int) -> None:
        """A watch that said nothing at all may be waiting for a version that the server has yet to reach:
        where it was restored from a backup, for ever. So it is asked where it stands."""
        if lines:
            return
        page = await self._get_page({"limit": "1"})
        if behind := observe.went_back(self._state, self._kind, page.metadata.resource_version):
            raise Again(Verdict(Do.RELIST, behind))

    # --- both -----------------------------------------------------------------------------------------------

    async def _get(self, query: Mapping[str, str], verb: str) -> aiohttp.ClientResponse:
        """A 200, or Again."""
        self._generation = self._api.generation
        answer = await self._api.get(self._kind.path, query, self._limits.silence)
        if answer.status == 200:
            self._worked, self._renewed = True, False
            return answer
        async with answer:
            body = await answer.read()
        raise Again(judge(answer.status, answer.headers, body, self._kind, verb))

    async def _tell(self, events: list[Event]) -> None:
        progress = self._state.of(self._kind.name)
        while progress.too_large:
            log.error("an object is too large", resource=self._kind.name, object=progress.too_large.pop())
        if events:
            await self._publish(events)
