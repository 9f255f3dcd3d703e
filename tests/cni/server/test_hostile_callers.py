"""Broken and hostile callers and their arguments: each gets an error, and harms no other caller."""

from __future__ import annotations

import asyncio
import json
import os
import random
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from romana_bus.cni import frame
from romana_bus.cni.server import server
from tests.cni.calling import CLIENTS, invoke, sh, until

if TYPE_CHECKING:
    from romana_bus.cni.spec import Call
    from tests.cni.node import Node


def connected(node: Node) -> socket.socket:
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(20)
    caller.connect(str(node.run_dir / "cni.sock"))
    return caller


def answered(caller: socket.socket) -> tuple[int, bytes]:
    """Exit code and text."""
    stream = caller.makefile("rb")
    size = int.from_bytes(stream.read(4), "big")
    body = stream.read(size)
    assert len(body) == size > 0
    return body[0], body[1:]


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\0\0\1x",
        b"\xff" * 64,
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"\0\0\0\4a=b\0",
        b"\0\0\0\5=\0\0{}",
        b"\0\0\0\1\0",
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_invalid_frames(node: Node, sent: bytes) -> None:
    with connected(node) as caller:
        caller.sendall(sent)
        code, text = answered(caller)
        assert code == 1
        assert json.loads(text)["code"] in (4, 6), text


@pytest.mark.parametrize("seed", range(3))
def test_random_bytes_in_a_valid_frame(node: Node, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(100):
        body = chance.randbytes(chance.randrange(200))
        if chance.random() < 0.5:
            body = (
                b"CNI_COMMAND=" + chance.choice([b"ADD", b"DEL", b"GC"]) + b"\0" + body.replace(b"\0", b"=")
            )
            body += b"\0\0" + chance.choice([b"{", b"[", b"{}", body])
        with connected(node) as caller:
            caller.sendall(len(body).to_bytes(4, "big") + body)
            code, text = answered(caller)
        assert code == 1
        assert set(json.loads(text)) >= {"cniVersion", "code", "msg"}, text
    assert node.status().code == 0


def test_silent_callers_are_dropped_above_a_limit(node: Node) -> None:
    files = Path(f"/proc/{node.pid}/fd")
    before = len(os.listdir(files))
    idle = [connected(node) for _ in range(200)]
    half = [connected(node) for _ in range(server.SILENT + 100)]
    for caller in half[-50:]:
        caller.sendall(b"\0\0")
    pod = node.pod()
    node.decided(pod, *node.fresh())
    node.added(pod)
    until(lambda: len(os.listdir(files)) <= before + server.SILENT + 1, "the oldest are let go", node.log)
    assert idle[0].recv(1) == b""
    for caller in (*idle, *half):
        caller.close()
    until(lambda: len(os.listdir(files)) <= before + 1, "all are let go", node.log)
    node.delete(pod)


async def test_slow_caller_gets_a_timeout_error(tmp_path: Path) -> None:
    async def nothing(call: Call) -> bytes:
        raise AssertionError(call)

    def slow(path: Path) -> tuple[int, bytes]:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(20)
            caller.connect(str(path))
            caller.sendall(b"\0\0\1")
            return answered(caller)

    async with server.served(tmp_path, nothing, within=0.1) as path:
        code, text = await asyncio.to_thread(slow, path)
    assert (code, json.loads(text)["code"]) == (1, 5)
    assert "was not complete within 0.1 s" in json.loads(text)["msg"]


def test_slow_caller_delays_no_other_caller(node: Node) -> None:
    pod = node.pod()
    node.decided(pod, *node.fresh())
    request = frame.packed(pod.environment("ADD"), json.dumps(node.config()).encode())
    with connected(node) as caller:
        for at in range(len(request)):
            caller.sendall(request[at : at + 1])
            if at == len(request) // 2:
                other = node.pod()
                node.decided(other, *node.fresh())
                node.added(other)
        assert answered(caller)[0] == 0


NESTED = b'{"cniVersion":"1.1.0","name":"p","x":' + b"[" * 200_000 + b"]" * 200_000 + b"}"


@pytest.mark.parametrize(
    "config",
    [
        b"",
        b"[]",
        b"{",
        b"nul",
        b'{"cniVersion":1}',
        b'{"name":"\xff"}',
        b"[" * 100_000,
        b'{"x":' * 100_000,
        NESTED,
    ],
    ids=range(9),
)
def test_invalid_configurations(node: Node, config: bytes) -> None:
    pod = node.pod()
    with connected(node) as caller:
        caller.sendall(frame.packed(pod.environment("DEL"), config))
        code, text = answered(caller)
    assert code == 1
    assert json.loads(text)["code"] in (1, 6, 7), text
    assert node.status().code == 0


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CNI_IFNAME", b"a/b", "CNI_IFNAME 'a/b'"),
        ("CNI_IFNAME", b"sixteen-letters0", "CNI_IFNAME 'sixteen-letters0'"),
        ("CNI_IFNAME", b"", "CNI_IFNAME '': is missing"),
        ("CNI_IFNAME", b"..", "CNI_IFNAME '..'"),
        ("CNI_CONTAINERID", b"../../etc", "CNI_CONTAINERID '../../etc'"),
        ("CNI_CONTAINERID", b"\xff\xfe", "CNI_CONTAINERID"),
        ("CNI_ARGS", b"K8S_POD_NAMESPACE=a;K8S_POD_NAME=\xff\xfe", "CNI_ARGS"),
        ("CNI_ARGS", b"K8S_POD_NAMESPACE=a", "K8S_POD_NAMESPACE needs K8S_POD_NAME"),
        ("CNI_ARGS", b";;==;K8S_POD_NAME=../x;", "is not a Kubernetes name"),
        ("CNI_NETNS", b"relative/path", "CNI_NETNS 'relative/path'"),
        ("CNI_NETNS", b"/run/\xff", "CNI_NETNS"),
        ("CNI_NETNS", b"/x" * 5000, "CNI_NETNS"),
    ],
)
@pytest.mark.parametrize("client", ["c", "python"])
def test_invalid_environment_values(node: Node, client: str, name: str, value: bytes, said: str) -> None:
    pod = node.pod()
    environment = {key.encode(): text.encode() for key, text in pod.environment("ADD").items()}
    environment[name.encode()] = value
    line, config = [CLIENTS[client]], json.dumps(node.config()).encode()
    done = subprocess.run(line, input=config, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
    failure = json.loads(done.stdout)
    assert failure["code"] in (4, 8), failure
    assert said in failure["msg"], failure
    assert not [one for one in node.attached() if one.container == pod.container]


@pytest.mark.parametrize("kind", ["pipe", "directory", "file", "socket", "device", "link to nothing"])
def test_invalid_namespace_is_refused(node: Node, tmp_path: Path, kind: str) -> None:
    """Opening a pipe would block forever."""
    path = tmp_path / "ns"
    with socket.socket(socket.AF_UNIX) as listener:
        match kind:
            case "pipe":
                os.mkfifo(path)
            case "directory":
                path.mkdir()
            case "file":
                path.touch()
            case "socket":
                listener.bind(str(path))
            case "device":
                path = Path("/dev/zero")
            case _:
                path.symlink_to("/nowhere")
        for _ in range(6):  # more than there are threads
            pod = node.pod()._replace(at=str(path))
            node.decided(pod, *node.fresh())
            node.add(pod).fails(8, f"CNI_NETNS: {path}")
            node.delete(pod)
    assert node.status().code == 0


def test_namespace_removed_during_add(node: Node) -> None:
    pods = [node.pod() for _ in range(20)]
    for pod in pods:
        node.decided(pod, *node.fresh())
    with ThreadPoolExecutor(20) as threads:
        adding = [threads.submit(node.add, pod) for pod in pods]
        for pod in pods:
            sh("ip", "netns", "del", pod.netns)
        answers = [one.result() for one in adding]
    for pod, answer in zip(pods, answers, strict=True):
        if answer.code:
            assert answer.json["code"] in (8, 100), answer
        node.delete(pod)
    attached = {one.container for one in node.attached()}
    assert not attached & {pod.container for pod in pods}


def test_uid_mismatch_error_names_the_uid_on_the_log(node: Node) -> None:
    pod = node.pod("known", "uid-one")
    node.decided(pod, *node.fresh())
    node.until_read()
    other = node.pod("known", "uid-two")
    node.add(other, timeout=0.1).fails(11, "default/known", "uid-one", "uid-two")
    assert invoke(CLIENTS["c"], other.environment("DEL"), json.dumps(node.config()).encode()).code == 0


def test_mtu_too_small_for_a_family(node: Node) -> None:
    pod, small = node.pod(), node.pod()
    node.decided(pod, *node.fresh())
    node.add(pod, mtu=1000).fails(7, "mtu 1000", "1280")
    node.decided(small, node.fresh()[0])
    assert node.added(small, mtu=68)["interfaces"][1]["mtu"] == 68
