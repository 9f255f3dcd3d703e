"""nats-py's client with a fast lane for the subscriptions that carry the log.

nats-py connects, authenticates, reconnects and answers requests. What it does per message (a regular
expression, a header dictionary, a Msg, a queue, a task) costs 15 µs, which is the whole budget of the log.
So our parser passes the messages of chosen subscriptions directly to a function, with the raw header block
(2.5 µs), and frames that were built elsewhere are written as they are.

A connection never gives up. nats-py closes it for good on most errors that a server names (for example
credentials that are refused while they are being replaced), and the process would end with it.

This uses six private names of nats-py (`_ps`, `_pending`, `_transport`, `_process_connect_init`,
`_process_err`, `_process_op_err`); `tests/bus/jetstream/test_fastlane.py` fails if they change.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from romana_bus.bus.api import Unavailable
from romana_bus.bus.jetstream.library import AWAITING_CONTROL_LINE, Client, NatsError, Parser

#: Takes (subject, reply, header block, body). Called from the read loop: it must not block.
Sink = Callable[[bytes, bytes, bytes, bytes], None]

if TYPE_CHECKING:
    from nats.aio.client import Server

log = structlog.get_logger(__name__)

#: Seconds between two attempts to connect to one server: for the first FEW attempts, and later.
RETRY, RETRY_LATER, FEW = 0.25, 2.0, 40
#: A peer that does not acknowledge data for so long is dead: ms (tcp(7), TCP_USER_TIMEOUT). Without it a
#: frozen server keeps the connection, and delays the failover, for up to 15 minutes.
USER_TIMEOUT = 6000


class Wire(Client):
    """One connection. `sinks`: by subscription id."""

    def __init__(self) -> None:
        super().__init__()
        self.sinks: dict[bytes, Sink] = {}
        self._ps = _Lane(self)
        self._preferred = ""  # HOST:PORT of the server to connect to next
        self._tried: dict[str, float] = {}
        self._ended = False

    @property
    def info(self) -> dict[str, Any]:
        """The server's INFO (NATS client protocol)."""
        return self._server_info

    async def dial(self, servers: list[str], **options: Any) -> None:
        """Connect with our options: reconnect for ever, and notice a dead peer in 6-10 s."""
        await self.connect(
            servers=servers,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.25,  # type: ignore[arg-type]
            reconnect_to_server_handler=self._choose,
            ping_interval=3,
            max_outstanding_pings=2,
            connect_timeout=2,
            **options,
        )
        self.guard_socket()

    async def close(self) -> None:
        """Close the connection for good."""
        self._ended = True
        await super().close()

    @property
    def place(self) -> str:
        """HOST:PORT of the current server, or of the last one."""
        return self._current_server.uri.netloc.rpartition("@")[2] if self._current_server else ""

    @property
    def peer(self) -> str:
        """The address of the current server; '' while disconnected, and where it is not known."""
        writer = getattr(self._transport, "_io_writer", None) if self.is_connected else None
        peer = writer.get_extra_info("peername") if writer is not None else None
        return str(peer[0]) if peer else ""

    def others(self) -> list[str]:
        """URLs of the known servers other than the current one."""
        uris = (server.uri for server in self._server_pool)
        return sorted({uri.geturl() for uri in uris if uri.netloc.rpartition("@")[2] != self.place})

    def move(self, place: str) -> None:
        """Abort the connection and connect to the server at HOST:PORT."""
        self._preferred = place
        if (writer := getattr(self._transport, "_io_writer", None)) is not None:
            writer.transport.abort()  # an orderly close would wait for a frozen server

    def _choose(self, servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
        """Which server to try next, and in how many seconds (nats-py, ReconnectToServerHandler). Raises
        CancelledError once the connection is closed: nats-py cancels its attempts to reconnect, and where
        `asyncio.wait_for` swallows that, they would go on for ever."""
        if self._ended:
            raise asyncio.CancelledError
        preferred, self._preferred = self._preferred, ""
        known = {server.uri.netloc.rpartition("@")[2]: server for server in servers}
        if preferred in known:
            return known[preferred], 0.0
        now = time.monotonic()
        place = min(known, key=lambda place: (known[place].reconnects, self._tried.get(place, 0.0)))
        failed, last = known[place].reconnects, self._tried.get(place, 0.0)
        pause = (RETRY if failed < FEW else RETRY_LATER) * random.uniform(0.8, 1.2)
        wait = max(0.0, last + pause - now)
        self._tried = {place: tried for place, tried in self._tried.items() if place in known}
        self._tried[place] = now + wait
        return known[place], wait

    async def _process_err(self, err_msg: str) -> None:
        """Handle a server's -ERR; the server mostly closes the connection after it."""
        if "permissions violation" in err_msg.lower() or "stale connection" in err_msg.lower():
            await super()._process_err(err_msg)
            return
        error = NatsError(f"nats: {err_msg.strip()[:200]}")
        await self._error_cb(error)
        await self._process_op_err(error)

    async def listen(self, subject: str, sink: Sink) -> bytes:
        """Pass the messages of `subject` to `sink`, also after reconnects; returns the subscription's id."""
        subscription = await self.subscribe(subject)
        sid = b"%d" % subscription._id
        self.sinks[sid] = sink
        return sid

    async def unlisten(self, sid: bytes) -> None:
        self.sinks.pop(sid, None)
        if subscription := self._subs.get(int(sid)):
            with contextlib.suppress(Exception):
                await subscription.unsubscribe()

    def send(self, frames: bytes) -> None:
        """Write protocol bytes now, after what nats-py has queued. Nothing is kept for after a reconnect: the
        caller decides what to send then. Raises Unavailable while disconnected."""
        if not self.is_connected or self._transport is None:
            raise Unavailable("not connected to NATS")
        try:
            if self._pending:
                self._transport.writelines(self._pending)
                self._pending = []
                self._pending_data_size = 0
            self._transport.write(frames)
        except RuntimeError as error:  # uvloop's, of a closed connection that nats-py has yet to hear of
            raise Unavailable(f"not connected to NATS: {error}") from None

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        """Pass a message to its sink if nats-py's own parser has parsed it (after a PING, for example)."""
        if sink := self.sinks.get(b"%d" % sid):
            _pass(sink, subject, reply, headers or b"", data)
        else:
            await super()._process_msg(sid, subject, reply, data, headers)  # type: ignore[arg-type]

    async def _process_connect_init(self) -> None:
        """Close a connection on which the server does not answer (a frozen one, for example): nats-py opens
        the next one and would leave it open."""
        try:
            await super()._process_connect_init()
        except BaseException:
            if self._transport is not None:
                self._transport.close()  # type: ignore[no-untyped-call]
            raise

    def guard_socket(self) -> None:
        """Set the socket's options, so that a frozen peer is noticed; call after each connect."""
        writer = getattr(self._transport, "_io_writer", None)
        sock = writer.get_extra_info("socket") if writer is not None else None
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class _Lane(Parser):
    """Parses HMSG and MSG of the subscriptions in `sinks` by position. Anything else, and what is behind it
    in the buffer, goes to nats-py's parser."""

    nc: Wire

    async def parse(self, data: bytes = b"") -> None:
        if self.state == AWAITING_CONTROL_LINE:
            if self.buf:
                data = bytes(self.buf) + data
                self.buf.clear()
            done = self._fast(data)
            if done == len(data) or (done and self._incomplete(data, done)):
                self.buf.extend(data[done:])
                return
            data = data[done:]
        await super().parse(data)

    def _fast(self, data: bytes) -> int:
        """Pass complete messages at the start of `data` to their sinks; returns how many bytes are done."""
        sinks, find, size, offset = self.nc.sinks, data.find, len(data), 0
        while True:
            has_headers = data.startswith(b"HMSG ", offset)
            if not has_headers and not data.startswith(b"MSG ", offset):
                return offset
            eol = find(b"\r\n", offset)
            fields = data[offset:eol].split(b" ") if eol > 0 else []
            if len(fields) < 4 or (sink := sinks.get(fields[2])) is None:
                return offset
            start = eol + 2
            end = start + int(fields[-1])
            if end + 2 > size:
                return offset
            body = start + int(fields[-2]) if has_headers else start
            has_reply = len(fields) == (6 if has_headers else 5)
            _pass(sink, fields[1], fields[3] if has_reply else b"", data[start:body], data[body:end])
            offset = end + 2

    def _incomplete(self, data: bytes, offset: int) -> bool:
        """Whether the rest is the beginning of a message for one of our sinks."""
        eol = data.find(b"\r\n", offset)
        if eol < 0:
            return data.startswith((b"HMSG ", b"MSG "), offset)
        fields = data[offset:eol].split(b" ")
        return len(fields) >= 4 and fields[0] in (b"HMSG", b"MSG") and fields[2] in self.nc.sinks


def _pass(sink: Sink, subject: bytes, reply: bytes, headers: bytes, body: bytes) -> None:
    try:
        sink(subject, reply, headers, body)
    except Exception:
        # Raised, it would end nats-py's read loop, and the connection would look alive for seconds.
        log.exception("a message could not be taken", subject=subject.decode(errors="replace"))


def raw_message(subject: str, body: bytes, reply: str = "", headers: bytes = b"") -> bytes:
    """One PUB or HPUB frame. `headers`: a whole header block."""
    if not headers:
        return b"PUB %s %s%d\r\n%s\r\n" % (subject.encode(), _spaced(reply), len(body), body)
    size = len(headers)
    return b"HPUB %s %s%d %d\r\n%s%s\r\n" % (
        subject.encode(), _spaced(reply), size, size + len(body), headers, body
    )  # fmt: skip


def _spaced(reply: str) -> bytes:
    return f"{reply} ".encode() if reply else b""
