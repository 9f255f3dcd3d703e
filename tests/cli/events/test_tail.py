"""`events tail`: one subject or all, undecodable messages, and messages that arrive while it follows."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest

from romana_bus import events as ev
from romana_bus.events import ROLES
from tests.cli.logs import published, stored, with_nodes
from tests.identities import access_to, log_options

if TYPE_CHECKING:
    from tests.cli.conftest import Call
    from tests.cli.processes import Home, Running
    from tests.servers import NatsServer


def test_events_of_one_subject(recorded: tuple[str, ...], call: Call) -> None:
    result = call("events", "tail", "--no-follow", "--all", "--subject", "ipam.address.>", *recorded)
    assert result.lines
    assert all(" IPAM/" in line and " Address" in line for line in result.lines)
    some = call("events", "tail", "--no-follow", "--last", "5", "--json", *recorded).json_lines
    assert {one["stream"] for one in some} == {"SPEC", "KUBE", "IPAM"}
    assert len(some) == 11
    assert set(some[0]) == {"stream", "seq", "subject", "id", "time", "cause", "event"}


def test_every_event_as_a_line_and_as_json(recorded: tuple[str, ...], call: Call) -> None:
    last = {one["stream"]: one["last"] for one in call("status", "--json", *recorded).json["streams"]}
    lines = call("events", "tail", "--no-follow", "--all", *recorded).lines
    documents = call("events", "tail", "--no-follow", "--all", "--json", *recorded).json_lines
    assert len(lines) == len(documents) == sum(last.values())
    causes = {one["cause"] for one in documents if one["stream"] == "IPAM"}
    assert any(cause.startswith("KUBE/") for cause in causes)


def test_missing_event_is_reported(recorded: tuple[str, ...], call: Call) -> None:
    result = call("events", "tail", "--no-follow", "--subject", "kube.pod.nowhere.*", *recorded)
    assert (result.code, result.out) == (0, "")
    assert "no such event among the last 10 of each stream (--all searches all)" in result.err
    result = call("events", "tail", "--no-follow", "--all", "--subject", "spec.topology", *recorded)
    assert result.err == "romana-bus: no such event on the log\n"


def test_undecodable_events_are_marked(nats_server: NatsServer, call: Call) -> None:
    from romana_bus.bus.api import Outgoing
    from romana_bus.bus.connect import open_store
    from romana_bus.bus.stream_config import Layout
    from tests.conftest import run

    async def publish() -> None:
        access = access_to(nats_server.url)
        async with await open_store(access, Layout("strange"), "test", ROLES) as store:
            await store.publish("SPEC", Outgoing("spec.topology", b'{"type":"FromTheFuture"}', "x"), 0)

    run(publish())
    options = log_options(nats_server.url, "strange")
    result = call("events", "tail", "--no-follow", *options)
    assert "SPEC/1" in result.out
    [one] = call("events", "tail", "--no-follow", "--json", *options).json_lines
    assert "FromTheFuture" in one["body"]
    assert call("topology", "show", *options).code == 0


@pytest.mark.usefixtures("as_written")
def test_invalid_event_stops_no_consumer(nats_server: NatsServer, call: Call) -> None:
    c = with_nodes("n1")
    c.pod("web/a", "n1")
    c.decide()
    held = ev.PodAddress(address="nonsense", network="net", block="10.0.0.0/28")
    c.store(
        ev.AddressAssigned(
            namespace="web", name="b", uid="u", node="n1", tenant="web", addresses=(held,)
        )
    )  # fmt: skip
    options = stored(nats_server, c)
    assert "web/a" in call("ipam", "show", "--host", "n1", *options).out
    result = call("events", "tail", "--no-follow", "--subject", "ipam.address.>", *options)
    assert "not an event: 'nonsense' is not an IP address" in result.out


@pytest.mark.usefixtures("as_written")
def test_the_decider_answers_a_kubelet(nats_server: NatsServer, home: Home, call: Call) -> None:
    """Of two of them one leads; whoever comes after it answers too."""
    options = stored(nats_server, with_nodes("n1"))
    box = ev.SandboxRequested(node="n1", namespace="kube", name="static", uid="0123abc", sandbox="box")
    gone = ev.SandboxRemoved(node="n1", namespace="kube", name="static", uid="0123abc", sandbox="box")
    with home.start("events", "tail", "--subject", "ipam.address.>", *options) as tailing:
        for event, answer in ((box, "kube/static gets 10.0.0.0 on n1  (NODE/1)"), (gone, "(NODE/2)")):
            published(options, event)
            with home.start("run", "ipam", *options) as running:
                tailing.until(functools.partial(_said, tailing, answer), answer)
                assert running.stop().code == 0
        assert tailing.stop().code == 0
    assert "kube/static releases 10.0.0.0: the pod is gone" in tailing.out


def _said(running: Running, text: str) -> bool:
    return text in running.out
