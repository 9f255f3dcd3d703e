"""Watches one resource: lists it, or continues from the log's position, and follows it through all failures.

    resumes? ──no──► list (streaming, or in pages) ──► watch ──► the server closes it: watch again
       └─────yes──────────────────────────────────────┘  └─ 410: list    └─ silence, 5xx, garbage: watch again

The position of the watch is the version of the last event or bookmark. `observe.py` decides what is
published, so repeated answers put nothing on the log twice. Beside the watch, the server is asked for its
version when it has been quiet (`server_version.py`), and asked again about missing entities
(`absence_check.py`).
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import structlog

from romana_bus import metrics, tasks
from romana_bus.errors import BadInput, Failed
from romana_bus.kubernetes.api import NETWORK_ERRORS, distrusted, reason
from romana_bus.producers.kubernetes import observe
from romana_bus.producers.kubernetes.absence_check import AbsenceChecks
from romana_bus.producers.kubernetes.pages import Again, Limits, Pages
from romana_bus.producers.kubernetes.responses import Action, Verdict
from romana_bus.producers.kubernetes.server_version import ServerVersion
from romana_bus.producers.kubernetes.watch_stream import WatchStream
from romana_bus.runtime.health import Health

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp

    from romana_bus.events import Event
    from romana_bus.kubernetes.api import Api
    from romana_bus.producers.kubernetes.objects import Kind
    from romana_bus.producers.kubernetes.progress import Progress, Watched

log = structlog.get_logger(__name__)

#: Seconds after which a connection without an event counts as a good one.
GOOD = 5.0
#: Unusable objects that are logged one by one, per resource; all are counted.
LOGGED = 20


class ResourceWatch:
    """`publish` puts events on the log in order, and waits if they come too fast. `answered`: resources for
    which this server has answered before: their watches never give up."""

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
        self._to_log, self._publishing = publish, asyncio.Lock()
        self._health = health or Health()
        self._answered = set[str]() if answered is None else answered
        self._streaming = True
        self._reason = "first listing"
        self._watching: aiohttp.ClientResponse | None = None
        self._cut = False  # whether we closed the connection
        self._unread_at = ""  # the place behind which a line could not be read
        self._credit, self._credit_at = limits.burst[0], 0.0
        self._since, self._lines = 0.0, 0  # of the current connection
        self._renewed = False
        self._logged = 0
        self.pages = Pages(api, kind, state, limits, self)
        self.server_version = ServerVersion(self.pages, self)
        self.absence_checks = AbsenceChecks(self.pages, self)

    @property
    def progress(self) -> Progress:
        return self._state.of(self._kind.name)

    async def run(self) -> None:
        """Watch until cancelled. Raises Failed if the server refuses us before it has ever answered, and what
        `publish` raises."""
        await tasks.until_one_ends(
            [self._run(), self.server_version.keep_asking(), self.absence_checks.keep_looking()]
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
        """One listing or watch; returns the seconds to wait before the next."""
        self._cut, self._since, self._lines = False, 0.0, 0
        try:
            self._reason = observe.wanted(self._state, self._kind) or self._reason
            if observe.resumes(self._state, self._kind):
                await self._watch()
            else:
                await self._list()
        except Again as again:
            return await self._handle(again.verdict, delay)
        except NETWORK_ERRORS as error:
            if self._cut:
                return 0.0
            self.note("network", reason(error))
            if distrusted(error):
                await self._renew(delay, "its certificate is not trusted", anew=True)
            return delay
        return 0.0

    def _was_good(self) -> bool:
        """Whether the watch that has just ended did its work, so that the next one need not wait."""
        lasted = tasks.monotonic() - self._since if self._since else 0.0
        return self.progress.synced and (self._lines > 0 or lasted >= GOOD)

    async def _pace(self) -> None:
        """Limit the rate of connections: a lost one is opened again at once, but not all the time."""
        most, rate = self._limits.burst
        now = tasks.monotonic()
        self._credit = min(most, self._credit + (now - self._credit_at) * rate)
        self._credit_at = now
        if self._credit < 1.0:
            await asyncio.sleep((1.0 - self._credit) / rate)
        self._credit -= 1.0

    def look(self) -> None:
        """End the watch if another listing is requested. A listing that is running is completed first."""
        if not self.progress.synced or self.progress.listed is not None:
            return
        if observe.wanted(self._state, self._kind):
            self.cut()

    def cut(self) -> None:
        """End the current watch; the next listing or watch begins at once."""
        if self._watching is not None:
            self._cut = True
            self._watching.close()

    def relist(self, why: str) -> None:
        """List again now, because the current state is wrong."""
        self._unsync(why)
        self.cut()

    def _unsync(self, why: str) -> None:
        self.note("relist", why)
        self.progress.synced, self._reason = False, why

    async def _handle(self, verdict: Verdict, delay: float) -> float:
        """React to a failed request; returns the seconds to wait before the next attempt."""
        match verdict.do:
            case Action.PAGES:
                self._streaming = False
                self.pages.refused()
                return 0.0
            case Action.RELIST:
                self._unsync(verdict.why)
            case Action.RENEW:
                return max(verdict.after, await self._renew(delay, verdict.why))
            case Action.REFUSED:
                self._refused(verdict.why)
            case Action.RETRY:
                self.note("retry", verdict.why)
        return max(verdict.after, delay)

    async def _renew(self, delay: float, why: str, anew: bool = False) -> float:
        """Load the credentials again, after every refusal, since a token's file may be updated late. If the
        first renewal did not help, report it."""
        again, self._renewed = self._renewed, True
        self.note("unauthorized", f"renewing the credentials: {why}")
        try:
            await self._api.renew(self.pages.generation, anew)
        except BadInput as error:
            self.note("unauthorized", str(error))
            return delay
        if again and not anew:
            self._refused(
                f"the API server does not accept our credentials, even renewed ones ({why}): check the "
                "kubeconfig's user, or the service account"
            )
        return delay if again else 0.01

    def _refused(self, why: str) -> None:
        """Report a refusal that only a person can resolve. If the server has never answered, raises Failed,
        which ends the process; later the watch keeps retrying."""
        if self._kind.name not in self._answered:
            raise Failed(why)
        self.note("refused", why)

    def note(self, what: str, why: str) -> None:
        metrics.WATCH_TROUBLE.labels(self._kind.name, what).inc()
        metrics.WATCH_SYNCED.labels(self._kind.name).set(0)
        log.warning(f"watch {what}", resource=self._kind.name, why=why)
        self._health.say(f"watch {self._kind.name}", why)

    def worked(self) -> None:
        """Note that the server has answered successfully."""
        self._answered.add(self._kind.name)
        self._renewed = False

    def well(self) -> None:
        metrics.WATCH_SYNCED.labels(self._kind.name).set(1)
        self._health.say(f"watch {self._kind.name}", "")

    # --- publishing -----------------------------------------------------------------------------------------

    async def tell(self, make: Callable[[], list[Event]]) -> None:
        """Publish the events that `make()` derives from the state, before others are derived from it."""
        async with self._publishing:
            events = make()
            progress = self.progress
            while progress.unusable:
                self._unusable(*progress.unusable.pop(0))
            if events:
                await self._to_log(events)

    def _unusable(self, key: str, why: str) -> None:
        metrics.WATCH_TROUBLE.labels(self._kind.name, "unusable").inc()
        self._logged += 1
        if self._logged <= LOGGED:
            log.error("an object cannot be published", resource=self._kind.name, object=key, why=why)

    # --- listing ------------------------------------------------------------------------------------------

    async def _list(self) -> None:
        if self._streaming:
            await self._watch(listing=True)
            return
        version = await self.pages.all(self._begin_listing)
        if behind := observe.rewound_to(self._state, self._kind, version):
            raise Again(Verdict(Action.RELIST, behind))
        await self.tell(lambda: observe.end_listing(self._state, self._kind, version, tasks.monotonic()))
        self._synced()
        if not version:
            why = "a list without a resourceVersion, from which no watch can start: listing again"
            raise Again(Verdict(Action.RETRY, why))

    async def _begin_listing(self) -> None:
        """Called after the first answer of the server: until then the log is not marked as behind."""
        metrics.LISTINGS.labels(self._kind.name).inc()
        await self.tell(lambda: observe.begin_listing(self._state, self._kind, self._reason))

    def _synced(self) -> None:
        self.well()
        progress = self.progress
        log.info("synced", resource=self._kind.name, version=progress.place, count=len(progress.held))
        self.absence_checks.wake()

    # --- watching -----------------------------------------------------------------------------------------

    async def _watch(self, listing: bool = False) -> None:
        """One watch, until the server ends it. `listing`: it begins with a streaming list. Raises Again,
        NETWORK_ERRORS."""
        seconds = random.randint(*self._limits.timeout)
        query = {"watch": "1", "allowWatchBookmarks": "true", "timeoutSeconds": str(seconds)}
        if listing:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            await self.pages.may_list()
        else:
            query["resourceVersion"] = self.progress.place
        stream = WatchStream(self._kind, self._state, listing)
        async with await self._get(query, "streaming list" if listing else "watch") as answer:
            if listing:
                await self._begin_listing()
            else:
                self.well()
                self.server_version.watch_resumed()
            self._watching, self._since = answer, tasks.monotonic()
            try:
                self.look()
                while chunk := await self._next(answer, stream):
                    await self._hear(stream, chunk)
            finally:
                self._watching = None
        if self._cut:
            return
        if stream.listing:
            raise Again(Verdict(Action.RETRY, "the streaming list ended before it was complete"))

    async def _next(self, answer: aiohttp.ClientResponse, stream: WatchStream) -> bytes:
        """The next chunk. A server that does not support streaming lists starts a plain watch instead, and
        never says that the list is complete. Raises Again."""
        if not stream.listing:
            return await answer.content.readany()
        try:
            async with asyncio.timeout(self._limits.initial):
                return await answer.content.readany()
        except TimeoutError:
            raise Again(Verdict(Action.PAGES, "the streaming list does not end")) from None

    async def _hear(self, stream: WatchStream, chunk: bytes) -> None:
        before, listing = stream.lines, stream.listing
        stream.now = tasks.monotonic()
        trouble: list[Verdict] = []

        def feed() -> list[Event]:
            reported = stream.feed(chunk)
            trouble.extend([reported.trouble] if reported.trouble else [])
            return [*reported.events, *observe.settled(self._state, self._kind, stream.now)]

        await self.tell(feed)
        if stream.lines > before:
            metrics.WATCH_EVENTS.labels(self._kind.name).inc(stream.lines - before)
            self._lines += stream.lines - before
            self.server_version.answered()
        if trouble:
            raise Again(self._again(trouble[0]))
        if listing and not stream.listing:
            self._synced()
            self.look()
        elif self.progress.absences.keys:
            self.absence_checks.wake()

    def _again(self, trouble: Verdict) -> Verdict:
        """The verdict on an unreadable line: retry once, then list again."""
        if trouble.do is Action.RETRY:
            if self._unread_at == self.progress.place:
                return Verdict(Action.RELIST, trouble.why)
            self._unread_at = self.progress.place
        return trouble

    async def _get(self, query: Mapping[str, str], verb: str) -> aiohttp.ClientResponse:
        """An answer with status 200. Raises Again, NETWORK_ERRORS."""
        return await self.pages.get(query, verb, self._limits.silence)
