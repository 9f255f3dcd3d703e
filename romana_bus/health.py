"""What this process says of itself: alive, ready, and its metrics, over HTTP.

GET /healthz   200 while the event loop turns
GET /readyz    200 when every consumer here is up to date with its streams; else 503 and why not
GET /metrics   Prometheus text format
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import structlog

from romana_bus.errors import BadInput, Failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

log = structlog.get_logger(__name__)


class Health:
    """`say` is called by whoever knows; '' means well."""

    def __init__(self) -> None:
        self._problems: dict[str, str] = {}

    def say(self, name: str, problem: str) -> None:
        self._problems[name] = problem

    @property
    def problems(self) -> list[str]:
        """Each once, with whom it concerns."""
        found: dict[str, list[str]] = {}
        for name, problem in sorted(self._problems.items()):
            if problem:
                found.setdefault(problem, []).append(name)
        return [f"{', '.join(names)}: {problem}" for problem, names in found.items()]


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
        return web.Response(
            text="".join(f"{p}\n" for p in problems) or "ok\n", status=503 if problems else 200
        )

    async def metrics(_: web.Request) -> web.Response:
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
