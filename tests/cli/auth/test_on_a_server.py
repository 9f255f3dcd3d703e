"""What the changes of `romana-bus auth` mean to a server that reads its file again."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.auth.permissions import READ
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.jetstream import requests
from romana_bus.bus.stream_config import Layout
from romana_bus.events import ROLES
from tests.bus.auth.site import Raw
from tests.cli.processes import DEADLINE, until
from tests.conftest import run
from tests.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call


@pytest.fixture
def server(auth: Path, tmp_path: Path) -> Iterator[NatsServer]:
    """One that has the log of c1."""
    with NatsServer(tmp_path / "nats", users='include "../auth/server.conf"') as started:

        async def make_log() -> None:
            access = Access(servers=(started.url,), creds=auth / "creds" / "operator.nk")
            async with await open_store(access, Layout("c1"), "test", ROLES):
                pass

        run(make_log())
        yield started


def reload(server: NatsServer) -> None:
    """Returns when it has read its file again."""
    log = server.directory / "nats.log"
    before = log.read_text().count("Reloaded server configuration")
    server.signal(signal.SIGHUP)
    until(lambda: log.read_text().count("Reloaded server configuration") > before, "a reload")


def test_the_old_key_ends_with_finish(server: NatsServer, auth: Path, call: Call) -> None:
    old = auth.parent / "old.nk"
    old.write_bytes((auth / "creds" / "reader.nk").read_bytes())
    new = auth / "creds" / "reader.nk"

    def works(seed: Path) -> bool:
        done = call("status", "--nats", server.url, "--cluster", "c1", "--creds", str(seed))
        if done.code != 0:
            done.complains(1, "refuses these credentials")
        return done.code == 0

    assert works(old)
    assert call("auth", "rotate", str(auth), "reader").code == 0
    assert not works(new), "the server has yet to read its file"
    reload(server)
    assert works(old)
    assert works(new)
    assert call("auth", "rotate", str(auth), "reader", "--finish").code == 0
    reload(server)
    assert works(new)
    assert not works(old)


def test_who_is_revoked_is_disconnected(server: NatsServer, auth: Path, call: Call) -> None:
    kept = auth.parent / "kept.nk"
    kept.write_bytes((auth / "creds" / "reader.nk").read_bytes())

    async def disconnected() -> None:
        client = await Raw.connect(server.url, auth, READ)
        assert call("auth", "revoke", str(auth), "reader").code == 0
        reload(server)
        async with asyncio.timeout(DEADLINE):
            while client.client.is_connected:
                await asyncio.sleep(0.02)

    run(disconnected())
    done = call("status", "--nats", server.url, "--cluster", "c1", "--creds", str(kept))
    done.complains(1, "refuses these credentials")


def test_an_agents_file_is_no_readers(
    server: NatsServer, auth: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its account has no part of what a person asks for, which to a client looks as if nobody were there."""
    monkeypatch.setattr(requests, "LEADER_WITHIN", 0.5)
    seed = auth / "creds" / "agent-n1.nk"
    done = call("status", "--nats", server.url, "--cluster", "c1", "--creds", str(seed))
    done.complains(1, "or not for this identity")
