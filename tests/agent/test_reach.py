"""Where an agent's node reaches the log and the API server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from romana_bus.agent.reach import Reach, host_of
from romana_bus.inet import format_address, parse_address


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("nats://10.0.0.1:4222", "10.0.0.1"),
        ("tls://user:secret@nats.example:4222", "nats.example"),
        ("nats.example:4222", "nats.example"),
        ("nats.example", "nats.example"),
        ("10.0.0.1:6443", "10.0.0.1"),
        ("[fd00::1]:6443", "fd00::1"),
        ("fd00::1", "fd00::1"),
        ("10.0.0.1", "10.0.0.1"),
        ("", ""),
        (":6443", ""),
        ("[fd00::1", ""),
    ],
)
def test_host_of_a_url(text: str, host: str) -> None:
    assert host_of(text) == host


def addresses(reach: Reach) -> set[str]:
    return {format_address(*address) for address in reach.now().addresses}


async def test_names_are_resolved_and_keep_their_last_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[str, list[str]] = {"nats": ["10.0.0.7", "fd00::7"], "api": ["10.0.0.8"]}
    asked = []

    async def getaddrinfo(name: str, _: object) -> list[Any]:
        asked.append(name)
        if name not in answers:
            raise OSError("no such name")
        return [(2, 1, 6, "", (address, 0)) for address in answers[name]]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo, raising=False)
    reach = Reach(["nats", "10.0.0.1", "api", ""])
    assert addresses(reach) == {"10.0.0.1"}
    await reach.resolve()
    assert addresses(reach) == {"10.0.0.1", "10.0.0.7", "fd00::7", "10.0.0.8"}
    answers["nats"] = ["10.0.0.9"]
    del answers["api"]
    await reach.resolve()
    assert addresses(reach) == {"10.0.0.1", "10.0.0.9", "10.0.0.8"}
    assert sorted(asked) == ["api", "api", "nats", "nats"]


def test_server_that_the_connection_leads_to_counts_too() -> None:
    reach = Reach(["10.0.0.1"])
    assert not reach.now().answered
    reach.connected = lambda: "10.0.0.2"
    assert addresses(reach) == {"10.0.0.1", "10.0.0.2"}
    reach.connected = str
    assert addresses(reach) == {"10.0.0.1"}
    assert reach.now().answered == {parse_address("10.0.0.2")}
