"""What the gatherers share: the options, and the open log and API server, or why they are not open."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.agent.reach import Reach, host_of
from romana_bus.bus.api import BusError
from romana_bus.bus.auth.permissions import READ, agent_of
from romana_bus.bus.connect import open_store
from romana_bus.bus.credentials import login, without_password
from romana_bus.bus.embedded.client import state_directory
from romana_bus.cli.doctor.finding import CLUSTER
from romana_bus.errors import BadInput, RomanaError
from romana_bus.events import IPAM, NODE, ROLES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from romana_bus.bus.auth.permissions import Identity
    from romana_bus.bus.connect import Access
    from romana_bus.bus.jetstream.store import JetStream
    from romana_bus.bus.stream_config import Layout
    from romana_bus.inet import Prefix
    from romana_bus.kubernetes.api import Api, Target
    from romana_bus.producers.kubernetes.objects import Kind


class NotSeen(Exception):
    """Facts cannot be gathered, with the reason."""


class Wanted(NamedTuple):
    """The options. `scopes`: where to look. `node`: this node's name. `run_dir`: the agent's. `bin_dir`,
    `conf_dir`: None: as the runtime's configuration says. `target_named`: the user expects an API server.
    `kinds`: resources to watch. `services`: the service CIDRs. `pause`: seconds between two looks."""

    scopes: tuple[str, ...]
    node: str
    run_dir: Path
    bin_dir: Path | None
    conf_dir: Path | None
    access: Access
    layout: Layout
    target: Target
    target_named: bool
    kinds: tuple[Kind, ...]
    services: tuple[Prefix, ...]
    pause: float


class Context:
    """`no_store`, `no_api`: why there is none, or ''. `named`: whether a log was named, or this user has
    one."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.reach = Reach(map(host_of, wanted.access.servers))
        self.named = bool(wanted.access.servers)
        self.no_store = self.no_api = ""
        self._store: JetStream | None = None
        self._api: Api | None = None
        self._known: dict[str, Any] = {}

    @property
    def store(self) -> JetStream:
        """Raises NotSeen."""
        if self._store is None:
            raise NotSeen(self.no_store if not self.named else "the log is out of reach")
        return self._store

    @property
    def api(self) -> Api:
        """Raises NotSeen."""
        if self._api is None:
            raise NotSeen(self.no_api)
        return self._api

    async def once(self, name: str, read: Callable[[], Awaitable[Any]]) -> Any:
        """What `read` gave the first time: several checks use it."""
        if name not in self._known:
            self._known[name] = await read()
        return self._known[name]

    async def open(self, stack: contextlib.AsyncExitStack) -> None:
        """Open what can be opened."""
        with contextlib.suppress(OSError):
            await self.reach.resolve()
        await self._open_store(stack)
        if CLUSTER in self.wanted.scopes:
            await self._open_api(stack)

    async def _open_store(self, stack: contextlib.AsyncExitStack) -> None:
        access, layout = self.wanted.access, self.wanted.layout
        if not self.named and not state_directory(layout.cluster).is_dir():
            self.no_store = "no NATS server is named (--nats), and this user has no log here"
            return
        self.named = True
        who, roles = identity(self.wanted)
        try:
            session = await open_store(access, layout, "doctor", roles, who=who, looking=True, creates=False)
        except (RomanaError, BusError, OSError) as error:
            self.no_store = str(error) or type(error).__name__
            return
        self._store = await stack.enter_async_context(session)
        self.reach.connected = lambda: self._store.wire.peer if self._store else ""

    async def _open_api(self, stack: contextlib.AsyncExitStack) -> None:
        from romana_bus.kubernetes.api import Api

        try:
            self._api = await stack.enter_async_context(Api(self.wanted.target))
        except (RomanaError, OSError) as error:
            self.no_api = str(error)

    @property
    def where(self) -> str:
        """The log's servers, for a person."""
        return ", ".join(map(without_password, self.wanted.access.servers)) or "this user's own server"


def identity(wanted: Wanted) -> tuple[Identity, tuple[str, ...]]:
    """As whom to connect, and the streams to read: a node has its agent's credentials only. Raises
    BadInput."""
    reader, agent = (READ, ROLES), (agent_of(wanted.node), (IPAM, NODE))
    first, second = (reader, agent) if CLUSTER in wanted.scopes else (agent, reader)
    try:
        login(wanted.access, first[0])
    except BadInput:
        with contextlib.suppress(BadInput):
            login(wanted.access, second[0])
            return second
        raise
    return first


@contextlib.asynccontextmanager
async def opened(wanted: Wanted) -> AsyncIterator[Context]:
    context = Context(wanted)
    async with contextlib.AsyncExitStack() as stack:
        await context.open(stack)
        yield context
