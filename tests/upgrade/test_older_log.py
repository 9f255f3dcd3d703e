"""A log of an older version under this one: it decides what was decided, and goes on; agents of the older
version, and events of a newer one, are told.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.connect import open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import (
    IPAM,
    NODE,
    ROLES,
    SPEC,
    AddressAssigned,
    AddressReleased,
    LeaderElected,
    SandboxRequested,
    SettingsChanged,
    codec,
)
from romana_bus.runtime.feed import outgoing
from tests.cli.processes import Home
from tests.conftest import run
from tests.identities import access_to, log_options
from tests.upgrade import older_log

if TYPE_CHECKING:
    from pathlib import Path

    from tests.servers import NatsServer

CLUSTER = "older"
WEB_1, WEB_2 = "ipam.address.a1.default.web-1", "ipam.address.a2.default.web-2"
NEW = "ipam.address.a1.kube-system.new-a1"
REQUEST = SandboxRequested(node="a1", namespace="kube-system", name="new-a1", uid="f" * 32, sandbox="box")


def by_leader(seq: int, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """A message of the leader that wrote IPAM's last one."""
    id_ = [one["headers"]["Nats-Msg-Id"] for one in older_log.MESSAGES if one["stream"] == IPAM][-1]
    headers = {"Nats-Msg-Id": f"{id_.rpartition('/')[0]}/{seq}"}
    return {"stream": IPAM, "seq": seq, "subject": subject, "headers": headers, "body": body}


#: What a newer version wrote before this one came back: a field and a type that this one does not know.
NEWER = (
    by_leader(26, WEB_1, older_log.newest(WEB_1) | {"lane": 7}),
    by_leader(27, WEB_2, {"type": "AddressLeased", "node": "a2", "name": "web-2"}),
)


@pytest.fixture
def home(own_server: NatsServer, tmp_path: Path) -> Home:
    """A user on a server with the older log."""
    run(older_log.stored(own_server.url, CLUSTER, *NEWER))
    return Home(tmp_path / "home")


def test_older_log_is_continued_and_newer_events_in_it_are_told(own_server: NatsServer, home: Home) -> None:
    options = log_options(own_server.url, CLUSTER)
    with home.start("run", "ipam", *options):
        written = until_decided(own_server)
    assert [type(event) for event in written.pop("ipam.leader")] == [LeaderElected]
    [sticky] = written.pop("ipam.address.a2.default.db-0")  # shortened to what this version allows
    assert isinstance(sticky, AddressReleased)
    assert [one.address for one in sticky.cooling] == ["10.20.0.32", "fd20::20"]
    [new] = written.pop(NEW)
    assert isinstance(new, AddressAssigned)
    taken = {"10.20.0.8", "10.20.0.10", "10.20.0.12"}  # of web-1, the static pod, and the fixed address
    assert {one.block for one in new.addresses} == {"10.20.0.8/29", "fd20::8/125"}
    assert not {one.address for one in new.addresses} & taken
    assert written == {}  # everything else is as it was decided
    assert [held(home, pod, options) for pod in ("web-1", "web-2", "fixed")] == [
        ["10.20.0.8", "fd20::8"], ["10.20.0.0", "fd20::"], ["10.20.0.12", "fd20::a"],
    ]  # fmt: skip
    status = home.run("status", "--json", *options).json
    [parked] = status["flaws"]["parked"]
    assert (parked["stream"], parked["seq"], parked["subject"]) == (IPAM, 27, WEB_2)
    assert parked["why"] == "unknown type 'AddressLeased': written by a newer version?"
    assert [(node["older"], node["trouble"]) for node in status["nodes"]] == [(True, []), (True, [])]
    assert "of an older version: it reports" in home.run("status", *options).out


def held(home: Home, pod: str, options: tuple[str, ...]) -> list[str]:
    """The pod's addresses."""
    shown = home.run("ipam", "show", "--pod", f"default/{pod}", "--json", *options).json
    [on] = shown["on"]
    addresses: list[str] = on["addresses"]
    return addresses


def until_decided(server: NatsServer) -> dict[str, list[Any]]:
    """Until IPAM of this version has answered a request; gives what it wrote on its stream, by subject."""
    written: dict[str, list[Any]] = {}

    async def look() -> None:
        opening = open_store(access_to(server.url), Layout(CLUSTER), "test", ROLES)
        async with await opening as store:
            await store.publish(NODE, outgoing(REQUEST, "", store.clock.now(), store.history), 0)
            seq = NEWER[-1]["seq"]
            while NEW not in written:
                if message := await store.next(IPAM, seq):
                    seq = message.seq
                    written.setdefault(message.subject, []).append(codec.decode(message.body))
            while not await store.newest(NODE, "node.-.parked.ipam"):
                await asyncio.sleep(0.02)
            settings = await store.newest(SPEC, "spec.settings")
            assert settings is not None
            assert isinstance(codec.decode(settings.body), SettingsChanged)

    run(look())
    return written
