"""Opens a store from what the user named: a URL, a credentials file, certificates, or nothing.

The server is checked before anything is written: JetStream is on, it is new enough, and, if its monitoring
port is named, it syncs every write. An unsafe server is refused with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
import structlog

from romana_bus.bus import stream_config
from romana_bus.bus.api import BusError, Refused, StreamMissing, Unavailable
from romana_bus.bus.embedded.client import Embedded, Endpoint, state_directory
from romana_bus.bus.jetstream.fastlane import Wire
from romana_bus.bus.jetstream.library import NatsError
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.stream_config import Layout
from romana_bus.errors import BadInput, Failed
from romana_bus.tasks import stop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

log = structlog.get_logger(__name__)

CONNECT_WITHIN = 5.0
LEADER_WITHIN = 15.0
#: Of the URLs of servers. (With ws:// nats-py never gets past the server's first line.)
SCHEMES = ("", "nats", "tls")
#: Bytes that a message may need: an event (`events/base.py`: LARGEST) and its headers.
PAYLOAD = 1_000_000
#: How many existing clusters an error names.
NAMED = 8

_T = TypeVar("_T")


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach NATS. No `servers`: the embedded one, in `state`. `tls_*`: PEM files; `creds`: a NATS
    credentials file; `monitor`: the URL of a server's monitoring port."""

    servers: tuple[str, ...] = ()
    creds: Path | None = None
    tls_ca: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    monitor: str = ""
    state: Path | None = None


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
    looking: bool = False,
    creates: bool = True,
) -> Session:
    """Connect, check the server, prepare the streams. `name`: of this client, for NATS.

    `looking`: the command only reads, so a cluster that does not exist is an error, unless none exists and
    the user named none. `creates`: False for a process that does not set a log's replicas and history, so
    it must not create one. Raises Failed or BadInput, one line."""
    servers = list(access.servers)
    options = _credentials(servers) | _options(access)
    async with contextlib.AsyncExitStack() as opened:
        embedded = None
        if not servers:
            directory = access.state or state_directory(layout.cluster)
            if looking and not directory.is_dir():
                _refuse_unknown(layout.cluster, {path.name for path in directory.parent.glob("*/")})
            embedded = await Embedded.join(directory)
            opened.push_async_callback(embedded.leave)
            servers, options = _endpoint(embedded.endpoint)
        store = await _connect(servers, options, layout, name, creates)
        opened.push_async_callback(store.close)
        if embedded is not None:
            embedded.keep(functools.partial(_move, store))
        await _check_server(store, access, embedded is not None)
        if looking and embedded is None and not await _exists(store, roles):
            _refuse_unknown(layout.cluster, await _clusters(store))
        await _prepare(store, roles)
        opened.pop_all()
    return Session(store, embedded)


async def _exists(store: JetStream, roles: Sequence[str]) -> bool:
    """Whether the cluster has any of these streams."""
    for role in roles:
        with contextlib.suppress(StreamMissing):
            await _with_retries(functools.partial(store.tail, role))
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


def _endpoint(endpoint: Endpoint) -> tuple[list[str], dict[str, Any]]:
    return [endpoint.url], {"user": endpoint.user, "password": endpoint.password}


async def _move(store: JetStream, endpoint: Endpoint) -> None:
    """Follow the embedded server to another port."""
    store.wire.set_server_pool([endpoint.url])


def _credentials(servers: list[str]) -> dict[str, Any]:
    """The credentials in the URLs, decoded, to be used for every server: nats-py does not decode them, and
    has none for a server that another one announces. Raises BadInput."""
    found: list[dict[str, Any]] = []
    for server in servers:
        try:
            url = urlsplit(server if "//" in server else f"//{server}")
        except ValueError as error:
            raise BadInput(f"--nats {_without_password(server)}: {error}") from None
        if url.scheme not in SCHEMES:
            raise BadInput(f"--nats {_without_password(server)}: give nats://HOST:PORT or tls://HOST:PORT")
        if url.password is not None:
            found.append({"user": unquote(url.username or ""), "password": unquote(url.password)})
        elif url.username:
            found.append({"token": unquote(url.username)})
    if any(other != found[0] for other in found):
        raise BadInput("--nats: the URLs name different users, and one is used for all servers")
    return found[0] if found else {}


def _options(access: Access) -> dict[str, Any]:
    """Options for nats-py. Files are checked first, so that the error names the option. Raises BadInput."""
    options: dict[str, Any] = {}
    for field, path in (
        ("--creds", access.creds),
        ("--tls-ca", access.tls_ca),
        ("--tls-cert", access.tls_cert),
        ("--tls-key", access.tls_key),
    ):
        if path is not None and not path.is_file():
            raise BadInput(f"{field} {path}: there is no such file")
    if access.creds is not None:
        text = access.creds.read_text(errors="replace")
        if "BEGIN NATS USER JWT" not in text or "BEGIN USER NKEY SEED" not in text:
            raise BadInput(f"--creds {access.creds}: not a NATS credentials file (a JWT and an nkey seed)")
        options["user_credentials"] = str(access.creds)
    if access.tls_ca or access.tls_cert:
        try:
            options["tls"] = ssl.create_default_context(cafile=access.tls_ca)
            if access.tls_cert:
                options["tls"].load_cert_chain(access.tls_cert, access.tls_key)
        except (ssl.SSLError, OSError) as error:
            raise BadInput(f"--tls-ca/--tls-cert/--tls-key: {error}") from None
    return options


async def _connect(
    servers: list[str], options: dict[str, Any], layout: Layout, name: str, creates: bool
) -> JetStream:
    wire = Wire()
    store = JetStream(wire, layout, creates)
    failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def erred(error: Exception) -> None:
        store.last_error = text = str(error) or type(error).__name__
        if "authorization" in text.lower() and not failed.done():
            failed.set_result(text)
        if "permissions violation" in text.lower():
            log.error("NATS denies this role a subject", why=text)
        elif store.generation or store.opened:
            log.info("NATS connection", why=text)

    async def closed() -> None:
        store.closed_because(store.last_error or "the connection was closed")

    dial = asyncio.ensure_future(
        wire.dial(
            servers,
            name=f"romana-bus {name}",
            error_cb=erred,
            disconnected_cb=store.disconnected,
            reconnected_cb=store.reconnected,
            closed_cb=closed,
            **options,
        )
    )
    done, _ = await asyncio.wait((dial, failed), timeout=CONNECT_WITHIN, return_when="FIRST_COMPLETED")
    where = ", ".join(_without_password(server) for server in servers)
    if dial not in done:
        await stop(dial)
        with contextlib.suppress(Exception):
            await wire.close()
        if failed.done():
            raise Failed(f"NATS at {where} refuses these credentials: check --creds, or the URL's user")
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


async def _check_server(store: JetStream, access: Access, embedded: bool) -> None:
    version = store.wire.info.get("version", "?")
    if (room := store.wire.max_payload) < PAYLOAD:
        raise Failed(
            f"this NATS server takes messages of {room:,} bytes, and events have up to {PAYLOAD:,}: set "
            "`max_payload: 1MB` in its config and restart it"
        )
    if not store.wire.info.get("jetstream"):
        raise Failed(f"NATS {version} runs without JetStream: enable it in its config (`jetstream {{}}`)")
    try:
        level = (await _with_retries(lambda: store.api("INFO"))).get("api", {}).get("level", 0)
    except Unavailable:
        raise Failed("NATS has no JetStream for this account, or its servers have no leader") from None
    except Refused as error:
        raise Failed(f"NATS {version} cannot be used: {error}; romana-bus needs 2.12 or newer") from None
    if level < stream_config.API_LEVEL:
        raise Failed(
            f"NATS {version} is too old (JetStream API level {level}, needed {stream_config.API_LEVEL}): it "
            "does not know atomic batches. Use nats-server 2.12 or newer; 2.15 is the first fast one"
        )
    if access.monitor:
        await _check_durability(access.monitor)
    elif not embedded:
        log.warning(
            "not checked: does this NATS server sync every write? Without `sync_interval: always` a power "
            "loss takes acknowledged decisions with it. Name its monitoring port with --nats-monitor"
        )


async def _check_durability(monitor: str) -> None:
    import aiohttp  # here, since it takes 15 MB

    url = f"{monitor.rstrip('/')}/varz"
    try:
        timeout = aiohttp.ClientTimeout(total=5)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            varz = msgspec.json.decode(await answer.read())
    except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, ValueError) as error:
        raise Failed(f"--nats-monitor {monitor}: no usable answer from {url}: {error}") from None
    config = varz.get("jetstream", {}).get("config", {})
    if not config.get("sync_always"):
        raise Failed(
            "this NATS server does not sync every write, so a power loss takes acknowledged decisions with "
            "it: set `jetstream { sync_interval: always }` in its config and restart it"
        )


async def _prepare(store: JetStream, roles: Sequence[str]) -> None:
    try:
        await _with_retries(lambda: store.prepare(roles))
    except StreamMissing:
        raise Failed(
            f"there is no log of cluster {store.cluster} here yet: `romana-bus watch` and `romana-bus run "
            "ipam` create it, or `romana-bus up`"
        ) from None
    except BusError as error:
        raise Failed(f"the streams cannot be used: {error}") from None


async def _with_retries(ask: Callable[[], Awaitable[_T]]) -> _T:
    """Retry while Unavailable: a cluster that has just started, or lost a server, needs some seconds to
    elect a leader. Raises what `ask` raises."""
    until = asyncio.get_running_loop().time() + LEADER_WITHIN
    while True:
        try:
            return await ask()
        except Unavailable:
            if asyncio.get_running_loop().time() > until:
                raise
            await asyncio.sleep(0.25)


def _without_password(url: str) -> str:
    before, separator, rest = url.rpartition("@")
    return url if not separator else f"{before.partition('://')[0]}://***@{rest}"
