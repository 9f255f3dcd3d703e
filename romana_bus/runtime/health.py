"""Health of this process over HTTP: alive, ready, and metrics.

GET /healthz   200 while the event loop runs
GET /readyz    200 if every consumer of this process is up to date with its streams, the log has answered in
               the last seconds, and decisions can be stored; else 503 with the problems, one a line. Then,
               in both cases, warnings (the store is nearly full), which consumer is leader or standby, and
               when the log answered last
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


#: Roles of a consumer; '' while it reads its tables, or has lost the log.
LEADER, STANDBY = "leader", "standby"


class Health:
    """The problems and roles of the consumers of this process, and the state of the log.

    They are set when they change (`say`, `stand`), or computed for each request (`check`). A problem of ''
    is none."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {}
        self._checks: dict[str, Callable[[], str]] = {}
        self._warnings: dict[str, Callable[[], list[str]]] = {}
        self._ages: dict[str, Callable[[], float]] = {}
        self._roles: dict[str, str] = {}

    def say(self, name: str, problem: str) -> None:
        self._problems[name] = problem

    def check(self, name: str, problem: Callable[[], str] | None) -> None:
        """Call `problem` for each request from now on; None: no longer."""
        self._checks.pop(name, None)
        if problem is not None:
            self._checks[name] = problem

    def warn(self, name: str, warnings: Callable[[], list[str]]) -> None:
        """Show what this returns, at each request; it does not make the process unready."""
        self._warnings[name] = warnings

    def stand(self, name: str, role: str) -> None:
        """Set a consumer's role: LEADER, STANDBY or ''."""
        self._roles[name] = role
        for possible in (LEADER, STANDBY):
            metrics.ROLE.labels(name, possible).set(role == possible)

    def watch(self, store: Watched) -> None:
        """Include the problems of the log from now on."""
        self.check("log", store.problem)
        self._ages["log"] = lambda: store.age
        metrics.LOG_AGE.set_function(lambda: store.age)

    @property
    def warnings(self) -> list[str]:
        """What needs attention before it is a problem."""
        return [f"warning: {text}" for warnings in self._warnings.values() for text in warnings()]

    @property
    def problems(self) -> list[str]:
        """Each problem once, with the names that have it."""
        names_of: dict[str, list[str]] = {}
        checked = {name: problem() for name, problem in self._checks.items()}
        for name, problem in checked.items():
            if name.endswith(" writes"):
                metrics.UNWRITABLE.labels(name.removesuffix(" writes")).set(bool(problem))
        for name, problem in sorted((self._problems | checked).items()):
            if problem:
                names_of.setdefault(problem, []).append(name)
        return [f"{', '.join(names)}: {problem}" for problem, names in names_of.items()]

    @property
    def standing(self) -> list[str]:
        """The role of each consumer, and when the log answered last."""
        roles = [
            f"{name}: {role or 'neither leader nor standby'}" for name, role in sorted(self._roles.items())
        ]
        return roles + [f"{name}: confirmed {age():.1f} s ago" for name, age in sorted(self._ages.items())]


class Watched(Protocol):
    """What health needs of a store."""

    @property
    def age(self) -> float:
        """Seconds since the log answered last."""

    def problem(self) -> str:
        """Why the log cannot be relied on now, or ''."""


@contextlib.asynccontextmanager
async def served(listen: str, health: Health) -> AsyncIterator[str]:
    """Serve at HOST:PORT (port 0: a free one; '': do not serve); yields the URL. Raises BadInput, Failed."""
    if not listen:
        yield ""
        return
    from aiohttp import web  # here, since it takes 15 MB
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def ready(_: web.Request) -> web.Response:
        problems = health.problems
        lines = map(printable, [*(problems or ["ok"]), *health.warnings, *health.standing])
        return web.Response(text="".join(f"{line}\n" for line in lines), status=503 if problems else 200)

    async def metrics(_: web.Request) -> web.Response:
        health.problems  # noqa: B018  sets some of the metrics
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
        except (OSError, ValueError) as error:  # ValueError: not a host name
            raise Failed(f"--listen {listen}: {getattr(error, 'strerror', '') or error}") from None
        url = f"http://{host or 'localhost'}:{runner.addresses[0][1]}"
        log.info("serving /healthz, /readyz and /metrics", url=url)
        yield url
    finally:
        await runner.cleanup()
