"""One resource, watched: list it or go on where the log stands, then follow it, whatever happens.

    resumes? ──no──► list (streaming, or in pages) ──► watch ──► the server closes it: watch again
       └─────yes──────────────────────────────────────┘  └─ 410: list    └─ silence, 5xx, garbage: watch again

The watch's place is the version of the last event or bookmark. What is published goes through
`observe.py`, so whatever is repeated puts nothing on the log twice. Beside the watch the server is asked
where it stands when it has been quiet (`standing.py`), and asked again about what it does not show any more
(`second_look.py`).
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.errors import BadInput, Failed
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.client import NETWORK_ERRORS, distrusted, reason
from romana_bus.producers.kubernetes.pages import Again, Limits, Pages
from romana_bus.producers.kubernetes.responses import Action, Verdict
from romana_bus.producers.kubernetes.second_look import SecondLooks
from romana_bus.producers.kubernetes.server_version import Standing
from romana_bus.producers.kubernetes.watch_stream import WatchStream
from romana_bus.runtime.health import Health

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from romana_bus.events import Event
    from romana_bus.producers.kubernetes.client import Api
    from romana_bus.producers.kubernetes.objects import Kind
    from romana_bus.producers.kubernetes.observe import Watched

log = structlog.get_logger(__name__)

#: Seconds for which a connection has to last to have been a good one, where it said nothing.
GOOD = 5.0
#: Unusable objects that are said one by one, for each resource; all of them are counted.
SAID = 20


class ResourceWatch:
    """`publish` puts events on the log, in order, and waits when they come too fast. `answered`: resources of
    which this server has answered us before: of those we never give up."""

    def __init__(
        self,
        api: Api,
        kind: Kind,
        state: Watched,
        publish: Callable[[list[Event]], Awaitable[None]],
        limits: Limits = Limits(),
        health: Health | None = None,
        answered: set[str] | None = None,
    ) -> None:
        self._api, self._kind, self._state, self._limits = api, kind, state, limits
        self._to_log, self._telling = publish, asyncio.Lock()
        self._health = health or Health()
        self._answered = set[str]() if answered is None else answered
        self._streaming = True
        self._reason = "first listing"
        self._watching: aiohttp.ClientResponse | None = None
        self._cut = False  # it was us who closed the connection
        self._unread_at = ""  # where a line stood that could not be read
        self._credit, self._credit_at = limits.burst[0], 0.0
        self._since, self._lines = 0.0, 0  # of the present connection
        self._renewed = False
        self._said = 0
        self.pages = Pages(api, kind, state, limits, self)
        self.standing = Standing(self.pages, self)
        self.second_looks = SecondLooks(self.pages, self)

    @property
    def progress(self) -> observe.Progress:
        return self._state.of(self._kind.name)

    async def run(self) -> None:
        """For ever. Raises Failed if the server refuses us before it has ever answered, and whatever
        `publish` raises."""
        await tasks.until_one_ends(
            [self._run(), self.standing.keep_asking(), self.second_looks.keep_looking()]
        )

    async def _run(self) -> None:
        first, most = self._limits.backoff
        delay = first
        while True:
            await self._pace()
            wait = await self._once(delay)
            if self._was_good():
                wait, delay = min(wait, 0.01), first
            if wait:
                await asyncio.sleep(wait * random.uniform(1.0, 1.3))
                delay = min(delay * 2, most)
            else:
                delay = first

    async def _once(self, delay: float) -> float:
        """One listing or watch; gives the seconds to wait before the next."""
        self._cut, self._since, self._lines = False, 0.0, 0
        try:
            self._reason = observe.wanted(self._state, self._kind) or self._reason
            if observe.resumes(self._state, self._kind):
                await self._watch()
            else:
                await self._list()
        except Again as again:
            return await self._mend(again.verdict, delay)
        except NETWORK_ERRORS as error:
            if self._cut:
                return 0.0
            self.note("network", reason(error))
            if distrusted(error):
                await self._renew(delay, "its certificate is not trusted", anew=True)
            return delay
        return 0.0

    def _was_good(self) -> bool:
        """The watch that has just ended did its work: no reason to wait before the next."""
        lasted = tasks.monotonic() - self._since if self._since else 0.0
        return self.progress.synced and (self._lines > 0 or lasted >= GOOD)

    async def _pace(self) -> None:
        """A connection that is cut may be made again at once; one that is cut all the time may not."""
        most, rate = self._limits.burst
        now = tasks.monotonic()
        self._credit = min(most, self._credit + (now - self._credit_at) * rate)
        self._credit_at = now
        if self._credit < 1.0:
            await asyncio.sleep((1.0 - self._credit) / rate)
        self._credit -= 1.0

    def look(self) -> None:
        """Somebody may want another listing: then the watch ends now; one that still lists, behind that."""
        if not self.progress.synced or self.progress.listed is not None:
            return
        if observe.wanted(self._state, self._kind):
            self.cut()

    def cut(self) -> None:
        """End the watch, and go on at once with what is to be done next."""
        if self._watching is not None:
            self._cut = True
            self._watching.close()

    def relist(self, why: str) -> None:
        """What is known is of no use: list anew, now."""
        self._mistrust(why)
        self.cut()

    def _mistrust(self, why: str) -> None:
        self.note("relist", why)
        self.progress.synced, self._reason = False, why

    async def _mend(self, verdict: Verdict, delay: float) -> float:
        """What can be done about it at once; gives the seconds to wait before the next try."""
        match verdict.do:
            case Action.PAGES:
                self._streaming = False
                self.pages.refused()
                return 0.0
            case Action.RELIST:
                self._mistrust(verdict.why)
            case Action.RENEW:
                return max(verdict.after, await self._renew(delay, verdict.why))
            case Action.REFUSED:
                self._refused(verdict.why)
            case Action.RETRY:
                self.note("retry", verdict.why)
        return max(verdict.after, delay)

    async def _renew(self, delay: float, why: str, anew: bool = False) -> float:
        """Load the credentials again, each time: a token's file may be late. After the first time that helps
        at once or a person has to know."""
        again, self._renewed = self._renewed, True
        self.note("unauthorized", f"renewing the credentials: {why}")
        try:
            await self._api.renew(self.pages.generation, anew)
        except BadInput as error:
            self.note("unauthorized", str(error))
            return delay
        if again and not anew:
            self._refused(
                f"the API server does not accept our credentials, renewed ones neither ({why}): check the "
                "kubeconfig's user, or the service account"
            )
        return delay if again else 0.01

    def _refused(self, why: str) -> None:
        """A person has to do something. At the start that ends us; later it may be mended under way."""
        if self._kind.name not in self._answered:
            raise Failed(why)
        self.note("refused", why)

    def note(self, what: str, why: str) -> None:
        metrics.WATCH_TROUBLE.labels(self._kind.name, what).inc()
        metrics.WATCH_SYNCED.labels(self._kind.name).set(0)
        log.warning(f"watch {what}", resource=self._kind.name, why=why)
        self._health.say(f"watch {self._kind.name}", why)

    def worked(self) -> None:
        """The server has answered us with what we asked for."""
        self._answered.add(self._kind.name)
        self._renewed = False

    def well(self) -> None:
        metrics.WATCH_SYNCED.labels(self._kind.name).set(1)
        self._health.say(f"watch {self._kind.name}", "")

    # --- telling the log ----------------------------------------------------------------------------------

    async def tell(self, make: Callable[[], list[Event]]) -> None:
        """What `make` makes of the state goes on the log, before anything else that is made of it."""
        async with self._telling:
            events = make()
            progress = self.progress
            while progress.unusable:
                self._unusable(*progress.unusable.pop(0))
            if events:
                await self._to_log(events)

    def _unusable(self, key: str, why: str) -> None:
        metrics.WATCH_TROUBLE.labels(self._kind.name, "unusable").inc()
        self._said += 1
        if self._said <= SAID:
            log.error("an object cannot be told", resource=self._kind.name, object=key, why=why)

    # --- listing ------------------------------------------------------------------------------------------

    async def _list(self) -> None:
        if self._streaming:
            await self._watch(listing=True)
            return
        version = await self.pages.all(self._begin_listing)
        if behind := observe.went_back(self._state, self._kind, version):
            raise Again(Verdict(Action.RELIST, behind))
        await self.tell(lambda: observe.end_listing(self._state, self._kind, version, tasks.monotonic()))
        self._synced()
        if not version:
            why = "a list without a resourceVersion, behind which nothing can be watched: it is made again"
            raise Again(Verdict(Action.RETRY, why))

    async def _begin_listing(self) -> None:
        """Only once the server has begun to answer: until then the log is as good as it was."""
        metrics.LISTINGS.labels(self._kind.name).inc()
        await self.tell(lambda: observe.begin_listing(self._state, self._kind, self._reason))

    def _synced(self) -> None:
        self.well()
        progress = self.progress
        log.info("synced", resource=self._kind.name, version=progress.place, count=len(progress.held))
        self.second_looks.wake()

    # --- watching -----------------------------------------------------------------------------------------

    async def _watch(self, listing: bool = False) -> None:
        """One watch, until the server ends it. `listing`: a streaming list comes first."""
        seconds = random.randint(*self._limits.timeout)
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        if listing:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            await self.pages.may_list()
        else:
            query["resourceVersion"] = self.progress.place
        story = WatchStream(self._kind, self._state, listing)
        async with await self._get(query, "streaming list" if listing else "watch") as answer:
            if listing:
                await self._begin_listing()
            else:
                self.well()
                self.standing.resumed()
            self._watching, self._since = answer, tasks.monotonic()
            try:
                self.look()
                while chunk := await self._next(answer, story):
                    await self._hear(story, chunk)
            finally:
                self._watching = None
        if self._cut:
            return
        if story.listing:
            raise Again(Verdict(Action.RETRY, "the streaming list ended before it was complete"))

    async def _next(self, answer: aiohttp.ClientResponse, story: WatchStream) -> bytes:
        """A server that does not know streaming lists watches, and never says that the list is complete."""
        if not story.listing:
            return await answer.content.readany()
        try:
            async with asyncio.timeout(self._limits.initial):
                return await answer.content.readany()
        except TimeoutError:
            raise Again(Verdict(Action.PAGES, "the streaming list does not come to its end")) from None

    async def _hear(self, story: WatchStream, chunk: bytes) -> None:
        before, listing = story.lines, story.listing
        story.now = tasks.monotonic()
        trouble: list[Verdict] = []

        def feed() -> list[Event]:
            told = story.feed(chunk)
            trouble.extend([told.trouble] if told.trouble else [])
            return [*told.events, *observe.settled(self._state, self._kind, story.now)]

        await self.tell(feed)
        if story.lines > before:
            metrics.WATCH_EVENTS.labels(self._kind.name).inc(story.lines - before)
            self._lines += story.lines - before
            self.standing.heard_now()
        if trouble:
            raise Again(self._again(trouble[0]))
        if listing and not story.listing:
            self._synced()
            self.look()
        elif self.progress.absences.keys:
            self.second_looks.wake()

    def _again(self, trouble: Verdict) -> Verdict:
        """A line that cannot be read the second time either is not worth a third."""
        if trouble.do is Action.RETRY:
            if self._unread_at == self.progress.place:
                return Verdict(Action.RELIST, trouble.why)
            self._unread_at = self.progress.place
        return trouble

    async def _get(self, query: Mapping[str, str], verb: str) -> aiohttp.ClientResponse:
        """A 200, or Again."""
        return await self.pages.get(query, verb, self._limits.silence)
