"""No text on the log, in a file or in the API can send control sequences to the terminal."""

from __future__ import annotations

import itertools
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.bus.connect import open_store
from romana_bus.bus.stream_config import Layout
from romana_bus.events import ROLES
from tests.cli.api import ApiThread
from tests.cli.hostile import EVIL, SHOWN, Log, built, harmless, published_all, steering
from tests.cli.logs import begun
from tests.cli.processes import until
from tests.conftest import run
from tests.identities import access_to, log_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cli.conftest import Call
    from tests.cli.processes import Home
    from tests.servers import NatsServer

_clusters = itertools.count()

#: Each shows texts of the log, which are `@` in its words.
LOOKING = [
    "events tail --all --no-follow",
    "ipam show",
    "ipam show --all",
    "ipam show --host n1@",
    "ipam show --host homeless@",
    "ipam show --pod ns@/p1@",
    "ipam show --pod ns@/p2@",
    "ipam show --pod ns@/denied@",
    "ipam show --pod ns@/host@",
    "ipam show --pod ns@/early@",
    "ipam show --ip 10.0.0.1",
    "ipam show --ip 10.0.0.8",
    "ipam reserve 10.0.0.0/28 --drain",
    "topology show",
    "status",
]


@pytest.fixture(scope="session")
def evil(nats_server: NatsServer) -> Log:
    return built(nats_server, EVIL)


@pytest.fixture(scope="session")
def tame(nats_server: NatsServer) -> Log:
    """The same, with what is to be seen of those texts in their place."""
    return built(nats_server, SHOWN)


def masked(result: str) -> list[str]:
    """Its lines in some order (events come as streams give them), without their numbers, and without the
    space that these take."""
    lines = (re.sub(r"\d+", "0", line).replace("\\\\", "\\") for line in result.split("\n"))
    return sorted("".join(line.split()) for line in lines)


@pytest.mark.parametrize("line", LOOKING)
def test_hostile_names_in_a_pipe(line: str, evil: Log, tame: Log, call: Call) -> None:
    result = call(*evil.filled(line), *evil.options)
    assert result.code == 0, result
    harmless(result)
    assert SHOWN in result.out
    assert masked(result.out) == masked(call(*tame.filled(line), *tame.options).out)


@pytest.mark.parametrize("line", LOOKING)
def test_hostile_names_on_a_terminal(line: str, evil: Log, home: Home) -> None:
    with home.start_on_terminal(50, 500, *evil.filled(line), *evil.options) as looking:
        result = looking.wait()
    assert result.code == 0, result
    assert steering(result.out, terminal=True) == []
    assert SHOWN in result.out


@pytest.mark.parametrize("line", LOOKING)
def test_json_output_keeps_hostile_names_unchanged(line: str, evil: Log, call: Call) -> None:
    result = call(*evil.filled(line), "--json", *evil.options)
    assert result.code == 0, result
    harmless(result)
    assert result.out.isascii()
    assert any(EVIL in text for one in result.json_lines for text in strings(one))


def strings(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case dict():
            for key, inner in value.items():
                yield key
                yield from strings(inner)
        case list():
            for inner in value:
                yield from strings(inner)


def test_all_event_types_and_invalid_messages(nats_server: NatsServer, call: Call) -> None:
    options = begun(nats_server.url, "kinds")
    count = published_all(options, EVIL)
    result = call("events", "tail", "--all", "--no-follow", *options)
    assert result.code == 0
    harmless(result)
    assert len(result.lines) == result.out.count("\n") == count
    result = call("events", "tail", "--all", "--no-follow", "--json", *options)
    harmless(result)
    assert len(result.json_lines) == count
    for line in ("status", "ipam show --all", "topology show"):
        result = call(*line.split(), *options)
        assert result.code == 0
        harmless(result)


def test_hostile_leader_and_consumer_names(nats_server: NatsServer, call: Call) -> None:
    options = begun(nats_server.url, "led")
    name = "".join(EVIL.split())  # what NATS takes

    async def hold() -> None:
        access = access_to(nats_server.url)
        async with await open_store(access, Layout("led"), "test", ROLES) as store:
            await store.lease("kube", EVIL).acquire()
            stream = store.layout.stream("SPEC")
            config = {"ack_policy": "none", "name": f"{name}-1", "inactive_threshold": 60_000_000_000}
            body = {"stream_name": stream, "config": config}
            await store.api(f"CONSUMER.CREATE.{stream}.{name}-1", body)

    published_all(options, EVIL)

    def held() -> bool:
        run(hold())
        result = call("status", *options)
        harmless(result)
        leaders, _, rest = result.out.partition("consumers")
        return (
            f"KUBE    {SHOWN}" in leaders
            and SHOWN.replace(r"\r\n", "")[:20] in rest.partition("resources")[0]
        )

    until(held, "a leader")


# --- files -----------------------------------------------------------------------------------------------


@pytest.fixture
def document(evil: Log, tmp_path: Path) -> Path:
    """The topology of the log, with a node that is listed twice, which is warned of."""
    path = tmp_path / f"zones{SHOWN[:4]}\x1b[5;7m\n\udc9b.json"
    changed = json.loads(json.dumps(evil.document))
    listed = [{"name": f"twice{EVIL}", "ip": "192.0.2.9"}] * 2
    changed["topologies"][0]["map"] = [
        {"name": f"new{EVIL}", "assignment": {EVIL: EVIL}, "groups": []},
        {"name": f"listed{EVIL}", "groups": listed},
    ]
    path.write_text(json.dumps(changed))
    return path


@pytest.mark.parametrize("command", ["validate", "plan"])
def test_hostile_file_names(command: str, evil: Log, document: Path, call: Call, home: Home) -> None:
    options = evil.options if command == "plan" else ()
    result = call("topology", command, str(document), *options)
    assert result.code == 0
    harmless(result)
    assert f"twice{SHOWN} is listed earlier" in result.out + result.err
    assert r"\n\udc9b.json" in result.out + result.err
    assert SHOWN in result.out
    with home.start_on_terminal(50, 500, "topology", command, str(document), *options) as looking:
        shown = looking.wait()
    assert shown.code == 0
    assert steering(shown.out, terminal=True) == []
    assert SHOWN in shown.out


def test_errors_of_a_hostile_file(evil: Log, document: Path, call: Call) -> None:
    wrong = {"name": EVIL, "cidr": EVIL, "block_mask": EVIL, "tenants": [EVIL]}
    maps = [{"networks": [EVIL, f"no{EVIL}"], "map": [{"name": EVIL, "groups": [{"name": 3, EVIL: EVIL}]}]}]
    document.write_text(json.dumps({"networks": [wrong, wrong], "topologies": maps, EVIL: [EVIL]}))
    result = call("topology", "validate", str(document))
    assert result.code == 2
    harmless(result)
    assert all(line.startswith("/") for line in result.lines)
    assert call("topology", "validate", "--json", str(document)).json
    document.write_text(
        '{"networks": ["\ud83d", \x1b}'.encode("utf-8", "surrogatepass").decode(errors="replace")
    )
    harmless(call("topology", "validate", str(document)))


def test_hostile_names_in_a_simulation(evil: Log, tmp_path: Path, call: Call) -> None:
    topology, ops = tmp_path / "topology.json", tmp_path / "ops"
    topology.write_text(json.dumps(evil.document))
    host = {"op": "add_host", "name": f"h{EVIL}", "ip": "192.0.2.1", "tags": {f"zone{EVIL}": f"a{EVIL}"}}
    pods = [{"op": "allocate", "name": EVIL, "host": f"{name}{EVIL}", "tenant": EVIL} for name in "hx"]
    ops.write_text("".join(json.dumps(op) + "\n" for op in (host, *pods)))
    result = call("ipam", "simulate", "--topology", str(topology), "--ops", str(ops))
    assert result.code == 0
    harmless(result)
    assert [one.get("ok") for one in result.json_lines] == [True, True, False, None]
    assert any(EVIL in text for text in strings(result.json_lines[-1]))


# --- what the API server has -------------------------------------------------------------------------------


@pytest.fixture
def api() -> Iterator[ApiThread]:
    text = json.dumps(EVIL)[1:-1]
    with ApiThread() as made:
        for number in range(2):
            made.node(f"n{number}{text}", f"z{number}{text}", f"192.0.2.{number}")
            made.pod(f"p{number}{text}", f"n{number}{text}", f"ns{text}")
        made.pod(f"wish{text}", f"n0{text}", f"ns{text}", network=f"nowhere{EVIL}")
        yield made


@pytest.fixture
def log(nats_server: NatsServer) -> tuple[str, ...]:
    return log_options(nats_server.url, f"texts{next(_clusters)}")


def test_hostile_names_in_up_and_check(api: ApiThread, log: tuple[str, ...], home: Home, call: Call) -> None:
    with home.start("up", "--server", api.server.url, "--plain", *log) as up:
        up.until(lambda: up.out.count("AddressAssigned") == 2 and "AddressDenied" in up.out, "decisions")
        result = up.stop()
    assert result.code == 0
    harmless(result)
    first, *lines = result.lines
    assert first.startswith("watching ")
    assert all(re.match(r"[\d:.]{12}  [A-Z]+/\d+ +[A-Z][A-Za-z]+ ", line) for line in lines)
    assert f"there is no network nowhere{SHOWN}" in result.out
    text = json.dumps(EVIL)[1:-1]
    api.pod(f"new{text}", f"n0{text}", f"ns{text}")
    result = call("ipam", "check", "--server", api.server.url, "--pause", "0", "--repair", *log)
    assert result.code == 1
    harmless(result)
    assert SHOWN in result.out


def test_hostile_names_in_the_live_view(api: ApiThread, log: tuple[str, ...], home: Home) -> None:
    with home.start_on_terminal(50, 500, "up", "--server", api.server.url, *log) as up:
        wanted = (f"z0{SHOWN}", f"n0{SHOWN}", f"nowhere{SHOWN}")
        up.until(lambda: all(text in up.out for text in wanted), "a picture with names")
        result = up.stop()
    assert result.code == 0
    assert steering(result.out, terminal=True) == []
