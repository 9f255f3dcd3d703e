"""What this process says of itself: alive, ready, and its metrics, over HTTP.

GET /healthz   200 while the event loop turns
GET /readyz    200 when every consumer here is up to date with its streams, the log has answered in the last
               seconds, and what is decided can be stored; else 503 and why not. Behind that in both cases:
               which consumer leads or stands by, and when the log has answered last
GET /metrics   Prometheus text format
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Protocol

import structlog

from romana_bus import metrics
from romana_bus.errors import BadInput, Failed
from romana_bus.printable import printable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

log = structlog.get_logger(__name__)


#: What a consumer may be; '' while it reads its tables, or has lost the log.
LEADER, STANDBY = "leader", "standby"


class Health:
    """What there is to say of each consumer, and of the log: by whoever knows, when it changes (`say`,
    `stand`), or whenever somebody looks (`check`). A problem of '' means well."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {}
        self._checks: dict[str, Callable[[], str]] = {}
        self._ages: dict[str, Callable[[], float]] = {}
        self._stand: dict[str, str] = {}

    def say(self, name: str, problem: str) -> None:
        self._problems[name] = problem

    def check(self, name: str, problem: Callable[[], str] | None) -> None:
        """Ask this from now on; None: no more."""
        self._checks.pop(name, None)
        if problem is not None:
            self._checks[name] = problem

    def stand(self, name: str, how: str) -> None:
        """As what a consumer stands: LEADER, STANDBY or ''."""
        self._stand[name] = how
        for role in (LEADER, STANDBY):
            metrics.ROLE.labels(name, role).set(how == role)

    def watch(self, store: Watched) -> None:
        """From now on the log's own problems are some of ours."""
        self.check("log", store.problem)
        self._ages["log"] = lambda: store.age
        metrics.LOG_AGE.set_function(lambda: store.age)

    @property
    def problems(self) -> list[str]:
        """Each once, with whom it concerns."""
        found: dict[str, list[str]] = {}
        asked = {name: problem() for name, problem in self._checks.items()}
        for name, problem in asked.items():
            if name.endswith(" writes"):
                metrics.UNWRITABLE.labels(name.removesuffix(" writes")).set(bool(problem))
        for name, problem in sorted((self._problems | asked).items()):
            if problem:
                found.setdefault(problem, []).append(name)
        return [f"{', '.join(names)}: {problem}" for problem, names in found.items()]

    @property
    def standing(self) -> list[str]:
        """How each consumer stands, and since when the log has said nothing."""
        roles = [
            f"{name}: {how or 'neither leader nor standby'}" for name, how in sorted(self._stand.items())
        ]
        return roles + [f"{name}: confirmed {age():.1f} s ago" for name, age in sorted(self._ages.items())]


class Watched(Protocol):
    """A store, as far as health goes."""

    @property
    def age(self) -> float:
        """Seconds since the log has last answered."""

    def problem(self) -> str:
        """Why the log is not to be relied on now, or ''."""


@contextlib.asynccontextmanager
async def served(listen: str, health: Health) -> AsyncIterator[str]:
    """Serve at HOST:PORT ('' for not at all, port 0 for any); gives the URL. Raises BadInput, Failed."""
    if not listen:
        yield ""
        return
    from aiohttp import web  # 15 MB that a process without it does not need
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        problems = health.problems
        lines = map(printable, [*(problems or ["ok"]), *health.standing])
        return web.Response(text="".join(f"{line}\n" for line in lines), status=503 if problems else 200)

    async def metrics(_: web.Request) -> web.Response:
        health.problems  # noqa: B018  some metrics are what is asked here
        return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadInput(
            f"--listen {listen}: write HOST:PORT such as 127.0.0.1:9600, or :9600 for all addresses"
        )
    app = web.Application()
    app.router.add_get("/healthz", alive)
    app.router.add_get("/readyz", ready)
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host.strip("[]") or None, int(port)).start()
        except (OSError, ValueError) as error:  # a name that is none makes a ValueError
            raise Failed(f"--listen {listen}: {getattr(error, 'strerror', '') or error}") from None
        url = f"http://{host or 'localhost'}:{runner.addresses[0][1]}"
        log.info("serving /healthz, /readyz and /metrics", url=url)
        yield url
    finally:
        await runner.cleanup()
