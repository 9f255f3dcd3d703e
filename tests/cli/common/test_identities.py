"""Every command that uses the log, with a directory of credentials: it opens the identity of its role, which
may do what the command does, and nothing is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.auth.permissions import WATCH
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import ROLES
from tests.conftest import run
from tests.servers import NatsServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call

TOPOLOGY = """\
networks: [{name: a, cidr: 10.0.0.0/16, block_mask: 28}]
topologies: [{networks: [a], map: [{name: r}]}]
"""


@pytest.fixture
def options(tmp_path: Path, call: Call) -> Iterator[tuple[str, ...]]:
    """Those that reach a log on a server with the identities of `auth init`, which its watcher has made."""
    auth = tmp_path / "auth"
    assert call("auth", "init", str(auth)).code == 0

    async def begin(url: str) -> None:
        access = Access(servers=(url,), creds=auth)
        async with await open_store(access, Layout(), "test", ROLES, who=WATCH):
            pass

    with NatsServer(tmp_path / "nats", users='include "../auth/server.conf"') as server:
        run(begin(server.url))
        yield ("--nats", server.url, "--creds", str(auth))


def test_commands_connect_with_the_identity_that_may_do_what_they_do(
    tmp_path: Path, call: Call, options: tuple[str, ...]
) -> None:
    file = tmp_path / "zones.yaml"
    file.write_text(TOPOLOGY)
    for command in (
        ("status",),
        ("store", "show"),
        ("topology", "plan", str(file)),
        ("topology", "apply", str(file)),
        ("topology", "show"),
        ("ipam", "reserve", "10.0.0.0/28"),
        ("ipam", "unreserve", "10.0.0.0/28"),
        ("ipam", "settings", "set", "--cooldown", "60"),
        ("ipam", "settings", "show"),
        ("ipam", "show"),
        ("events", "tail", "--no-follow"),
        ("store", "set", "--history", "5"),
    ):
        result = call(*command, *options)
        assert (result.code, result.err) == (0, ""), command
    assert call("status", "--json", *options).json["refused"] == []
