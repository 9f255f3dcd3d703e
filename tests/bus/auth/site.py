"""NATS servers with identities, and raw clients that connect as one of them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

from nats.aio.client import Client
from nats.errors import TimeoutError as NoAnswer

from romana_bus.bus.auth import directory
from romana_bus.bus.auth.permissions import (
    AGENT,
    DECIDE,
    OPERATE,
    READ,
    THIRD_PARTY,
    UP,
    WATCH,
    Identity,
    agent_of,
    inbox_of,
)
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import ROLES
from tests.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from romana_bus.bus.jetstream.store import JetStream

CLUSTER = "c1"
EXT = Identity("ext", (THIRD_PARTY,), (), ("ext",))
#: The identities of the tests, by role.
WHO = {
    "watcher": WATCH, "ipam": DECIDE, "operator": OPERATE, "reader": READ, "third-party": EXT,
    AGENT: agent_of("n1"),
}  # fmt: skip


def authorized(folder: Path, *more: Identity) -> NatsServer:
    """A server, not started, that lets in the identities of WHO, `up`, the agent of n2, and more."""
    auth = folder / "auth"
    directory.ensure(auth, CLUSTER, [*WHO.values(), UP, agent_of("n2"), *more])
    return NatsServer(folder / "nats", users=f'include "../auth/{directory.SERVER}"')


def access(server: NatsServer, auth: Path) -> Access:
    return Access(servers=(server.url,), creds=auth)


@contextlib.asynccontextmanager
async def opened(server: NatsServer, auth: Path, who: Identity, *roles: str) -> AsyncIterator[JetStream]:
    layout, creates = Layout(CLUSTER), AGENT not in who.roles
    session = await open_store(
        access(server, auth), layout, who.name, roles or ROLES, who=who, creates=creates
    )
    async with session as store:
        yield store


class Outcome(NamedTuple):
    """What became of a request. `refused`: the server's error, `nobody serves it`, or ''. `answer`: the
    answer's body, if there is one."""

    refused: str
    answer: bytes = b""


class Raw:
    """A plain client, as a thief of the credentials would write it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.errors: list[str] = []

    @classmethod
    async def connect(cls, url: str, auth: Path, identity: Identity) -> Raw:
        seed, name = directory.read_seed(directory.seed_file(auth, identity.name))
        self = cls(Client())

        async def erred(error: Exception) -> None:
            self.errors.append(str(error))

        await self.client.connect(
            url, nkeys_seed_str=seed, inbox_prefix=inbox_of(name), error_cb=erred, max_reconnect_attempts=0
        )
        return self

    async def ask(
        self, subject: str, body: bytes = b"", headers: dict[str, str] | None = None, within: float = 2.0
    ) -> Outcome:
        """Publish a request, and wait for the answer or the server's refusal."""
        inbox = self.client.new_inbox()
        answers = await self.client.subscribe(inbox, max_msgs=1)
        if refused := await self.tell(subject, body, inbox, headers):
            return Outcome(refused)
        try:
            answer = await answers.next_msg(within)
        except NoAnswer:
            return Outcome("")  # taken, by somebody who does not answer
        status = (answer.headers or {}).get("Status")
        return Outcome("nobody serves it" if status == "503" else "", answer.data)

    async def tell(self, subject: str, body: bytes, reply: str, headers: dict[str, str] | None = None) -> str:
        """Publish with the answer going to another subject; returns the server's error, or ''."""
        before = len(self.errors)
        await self.client.publish(subject, body, reply, headers)
        await self._settled()
        return self.errors[-1] if len(self.errors) > before else ""

    async def hear(self, subject: str) -> str:
        """Subscribe; returns the server's error, or ''."""
        before = len(self.errors)
        subscription = await self.client.subscribe(subject)
        await self._settled()
        refused = self.errors[-1] if len(self.errors) > before else ""
        if not refused:
            await subscription.unsubscribe()
        return refused

    async def _settled(self) -> None:
        """The server has answered what was sent. nats-py sends its PING before what is still queued, so the
        second one is behind it."""
        await self.client.flush()
        await self.client.flush()

    async def close(self) -> None:
        await self.client.close()
