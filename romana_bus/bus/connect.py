"""Opens a store from what the user named: a URL, a credentials file, certificates, or nothing.

The server is checked before anything is written: JetStream is on, it is new enough, and, if its monitoring
port is named, it syncs every write. An unsafe server is refused with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from romana_bus.bus import stream_config
from romana_bus.bus.api import BusError, Closed, NotPermitted, Refused, StreamMissing, Unavailable
from romana_bus.bus.auth.permissions import LOG, UP
from romana_bus.bus.credentials import (
    Access as Access,
)
from romana_bus.bus.credentials import (
    Login,
    login,
    seed_login,
    without_password,
)
from romana_bus.bus.embedded.client import Embedded, Endpoint, state_directory
from romana_bus.bus.jetstream.fastlane import Wire
from romana_bus.bus.jetstream.library import NatsError
from romana_bus.bus.jetstream.refusals import Refusals
from romana_bus.bus.jetstream.requests import until_answered
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.jetstream.usage import storage
from romana_bus.bus.space import monitor, server_settings
from romana_bus.bus.space.place import Place
from romana_bus.bus.space.server_settings import Facts
from romana_bus.bus.store_size import budget_of
from romana_bus.bus.stream_config import Layout
from romana_bus.errors import BadInput, Failed
from romana_bus.recent import Recent
from romana_bus.tasks import monotonic, stop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from romana_bus.bus.auth.permissions import Identity

log = structlog.get_logger(__name__)

CONNECT_WITHIN = 5.0
#: µs after which the reason of an outage that lasts is logged again.
SAID_AGAIN = 60_000_000
#: Seconds within which the embedded server learns of a new identity.
LEARNS_WITHIN = 5.0
#: How many existing clusters an error names.
NAMED = 8


class NotAdmitted(Failed):
    """NATS refuses the credentials."""


class NoLog(Failed):
    """The cluster has no streams yet."""


class _Client(NamedTuple):
    """What a connection is for; see `open_store`."""

    name: str
    layout: Layout
    creates: bool
    live: bool
    who: Identity
    login: Login

    @property
    def only_reads(self) -> bool:
        """Whether it is known that it may neither create streams nor delete its consumers."""
        return "nkeys_seed_str" in self.login.options and self.who.account != LOG


class Session:
    """An open store, and the embedded server if it is used."""

    def __init__(self, store: JetStream, embedded: Embedded | None) -> None:
        self.store, self.embedded = store, embedded

    async def __aenter__(self) -> JetStream:
        return self.store

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()
        if self.embedded is not None:
            await self.embedded.leave()


async def open_store(
    access: Access,
    layout: Layout,
    name: str,
    roles: Sequence[str],
    *,
    who: Identity = UP,
    looking: bool = False,
    creates: bool = True,
    live: bool = False,
) -> Session:
    """Connect, check the server, prepare the streams. `name`: of this client, for NATS. `who`: the identity
    to connect as, on the embedded server or with a directory of credentials.

    `looking`: the command only reads, so a cluster that does not exist is an error, unless none exists and
    the user named none. `creates`: False for a process that does not set a log's replicas and history, so
    it must not create one. `live`: see JetStream. Raises Failed or BadInput, one line."""
    servers = list(access.servers)
    client = _Client(name, layout, creates, live, who, login(access, who))
    async with contextlib.AsyncExitStack() as opened:
        embedded = None
        if not servers:
            directory = access.state or state_directory(layout.cluster)
            if looking and not directory.is_dir():
                _refuse_unknown(layout.cluster, {path.name for path in directory.parent.glob("*/")})
            embedded = await Embedded.join(directory, layout.cluster, who)
            opened.push_async_callback(embedded.leave)
            servers, client = [embedded.endpoint.url], client._replace(login=_embedded_login(embedded))
        store = await _connect_known(embedded, servers, client)
        opened.push_async_callback(store.close)
        if embedded is not None:
            embedded.keep(functools.partial(_move, store))
        facts = await _check_server(store, access, embedded is not None)
        store.place = Place(embedded.directory if embedded else None, access.monitor)
        store.layout = await _with_budget(store, facts, roles)
        store.updates = embedded is not None and creates and not looking
        if looking and embedded is None and not await _exists(store, *roles):
            _refuse_unknown(layout.cluster, await _clusters(store))
        try:
            await _prepare(store, roles)
        except NoLog:
            if embedded is None or who == UP or (looking and not creates):
                raise
            async with await open_store(access, layout, name, roles):  # `who` may not create it
                await _prepare(store, roles)
        opened.pop_all()
    return Session(store, embedded)


async def _exists(store: JetStream, *roles: str) -> bool:
    """Whether the cluster has any of these streams."""
    for role in roles:
        with contextlib.suppress(StreamMissing):
            await until_answered(functools.partial(store.tail, role))
            return True
    return False


async def _clusters(store: JetStream) -> set[str]:
    """The clusters that have a log on this server."""
    clusters: set[str] = set()
    offset, total = 0, 1
    while offset < total:
        answer = await store.api("STREAM.NAMES", {"offset": offset})
        names, total = answer.get("streams") or [], answer["total"]
        clusters |= {match[1] for name in names if (match := stream_config.STREAM.fullmatch(name))}
        offset += len(names) or total
    return clusters


def _refuse_unknown(cluster: str, existing: Iterable[str]) -> None:
    """Raises BadInput, unless no cluster exists and the user named none."""
    if names := sorted(existing):
        named = ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")
        raise BadInput(f"there is no cluster {cluster} here: there is {named} (see --cluster)")
    if cluster != Layout().cluster:
        raise BadInput(f"there is no cluster {cluster} here, nor any other: `romana-bus up` creates it")


def _embedded_login(embedded: Embedded) -> Login:
    endpoint = embedded.endpoint
    if endpoint.password:
        return Login({"user": endpoint.user, "password": endpoint.password}, embedded.who.name)
    return seed_login(embedded.seed_file)


async def _connect_known(embedded: Embedded | None, servers: list[str], client: _Client) -> JetStream:
    """Connect. The embedded server may still have to learn of an identity that was just made. Raises
    Failed."""
    until = asyncio.get_running_loop().time() + LEARNS_WITHIN
    while True:
        try:
            return await _connect(servers, client)
        except NotAdmitted:
            if embedded is None or asyncio.get_running_loop().time() > until:
                raise
            embedded.reload()
            await asyncio.sleep(0.1)


async def _move(store: JetStream, endpoint: Endpoint) -> None:
    """Follow the embedded server to another port."""
    store.wire.set_server_pool([endpoint.url])


async def _connect(servers: list[str], client: _Client) -> JetStream:
    wire, (options, identity) = Wire(), client.login
    store = JetStream(wire, client.layout, client.creates and not client.only_reads, client.live)
    store.deletes = not client.only_reads
    store.refusals = refusals = Refusals(store, identity or client.who.name, "".join(client.who.nodes[:1]))
    failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    said: Recent[str] = Recent()

    async def erred(error: Exception) -> None:
        store.last_error = text = str(error) or type(error).__name__
        if "authorization" in text.lower() and not failed.done():
            failed.set_result(text)
        if not refusals.take(text) and (store.generation or store.opened):
            said.turn(int(monotonic() * 1e6), SAID_AGAIN)
            if said.get(outage := f"{store.generation} {text}") is None:
                said.put(outage, text)
                log.info("NATS connection", why=text)

    async def closed() -> None:
        store.closed_because(store.last_error or "the connection was closed")

    dial = asyncio.ensure_future(
        wire.dial(
            servers,
            name=f"romana-bus {client.name}",
            error_cb=erred,
            disconnected_cb=store.disconnected,
            reconnected_cb=store.reconnected,
            closed_cb=closed,
            **options,
        )
    )
    done, _ = await asyncio.wait((dial, failed), timeout=CONNECT_WITHIN, return_when="FIRST_COMPLETED")
    where = ", ".join(without_password(server) for server in servers)
    if dial not in done:
        await stop(dial)
        with contextlib.suppress(Exception):
            await wire.close()
        if failed.done():
            raise NotAdmitted(f"NATS at {where} refuses these credentials: check --creds, or the URL's user")
        raise Failed(f"cannot reach NATS at {where}: {store.last_error or 'no answer'}")
    try:
        dial.result()
    except (NatsError, OSError, ValueError) as error:
        raise Failed(f"cannot connect to NATS at {where}: {error}") from None
    await store.open()
    store.probed(functools.partial(_ask_elsewhere, store, options))
    return store


async def _ask_elsewhere(store: JetStream, options: dict[str, Any], url: str) -> None:
    """Ask for the ends of the streams over another server. Raises if it does not answer, anything."""
    wire = Wire()
    other = JetStream(wire, store.layout, store.creates)
    other.roles = store.roles

    async def erred(error: Exception) -> None:
        other.last_error = str(error)

    try:
        await wire.connect(
            [url],
            name="romana-bus probe",
            allow_reconnect=False,
            connect_timeout=2,
            error_cb=erred,
            **options,
        )
        await other.open()
        await other.ask_tails()
    finally:
        await other.close()


async def _check_server(store: JetStream, access: Access, embedded: bool) -> Facts:
    """Check the server by the table of its settings; returns what is known of it. Raises Failed."""
    version = store.wire.info.get("version", "?")
    # A leaf node has no JetStream, and passes requests on to the servers behind it.
    ask = functools.partial(store.api, "INFO")
    has_jetstream = bool(store.wire.info.get("jetstream"))
    try:
        account = await (until_answered(ask) if has_jetstream else ask())
    except (Closed, NotPermitted) as error:
        raise Failed(f"NATS {version} cannot be used: {error}") from None
    except Unavailable:
        if not has_jetstream:
            raise Failed(
                f"NATS {version} runs without JetStream: enable it in its config (`jetstream {{}}`)"
            ) from None
        raise Failed("NATS has no JetStream for this account, or its servers have no leader") from None
    except Refused as error:
        raise Failed(f"NATS {version} cannot be used: {error}; romana-bus needs 2.12 or newer") from None
    varz = await monitor.varz(access.monitor) if access.monitor else None
    facts = Facts(store.wire.info, account, varz)
    for setting, text in server_settings.verdicts(facts):
        if text and setting.fatal:
            raise Failed(text)
        if text:
            log.warning("a setting of this NATS server", setting=setting.name, what=text)
    if not access.monitor and not embedded:
        log.warning(
            "not checked: does this NATS server sync every write? Without `sync_interval: always` a power "
            "loss takes acknowledged decisions with it. Name its monitoring port with --nats-monitor"
        )
    return facts


async def _with_budget(store: JetStream, facts: Facts, roles: Sequence[str]) -> Layout:
    """The layout with its budget in bytes. Raises BadInput, unless all streams exist already: the size is
    that of a new log, and others may have filled the disk since this one was made."""
    layout = store.layout
    if layout.size is None or not store.creates:
        return layout
    try:
        room = storage(store.place, facts.account, facts.varz, layout.replicas)
        budget = budget_of(layout.size, room)
    except ValueError as error:
        for role in roles:
            if not await _exists(store, role):
                raise BadInput(f"--store-size: {error}") from None
        log.warning("a log of this size could not be made now; the one that exists stays", why=str(error))
        return layout
    return layout._replace(budget=budget)


async def _prepare(store: JetStream, roles: Sequence[str]) -> None:
    try:
        await until_answered(lambda: store.prepare(roles))
    except StreamMissing:
        raise NoLog(
            f"there is no log of cluster {store.cluster} here yet: `romana-bus watch` and `romana-bus run "
            "ipam` create it, or `romana-bus up`"
        ) from None
    except NotPermitted as error:
        raise NoLog(f"there is no log of cluster {store.cluster} here yet: {error}") from None
    except BusError as error:
        raise Failed(f"the streams cannot be used: {error}") from None
