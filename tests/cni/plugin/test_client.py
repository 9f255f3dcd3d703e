"""The executable alone, in C and in Python: the same tests, against a socket that does what agents may do."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from romana_bus.cni import frame
from tests.cni.calling import CLIENTS, Answer, invoke, until
from tests.cni.plugin.executable import DEATHS, PATH, call, config, last_status, taken

if TYPE_CHECKING:
    from collections.abc import Iterator


def test_version_needs_no_agent(client: Path) -> None:
    for asked, said in (("1.0.0", "1.0.0"), ("1.1.0", "1.1.0"), ("", "1.1.0"), ('"}', "1.1.0")):
        answer = call(client, json.dumps({"cniVersion": asked}).encode(), "VERSION")
        assert answer.code == 0
        assert answer.json == {"cniVersion": said, "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}
    assert call(client, b"", "VERSION").json["cniVersion"] == "1.1.0"


def test_request_carries_environment_and_configuration(client: Path, serving: Any) -> None:
    seen: list[frame.Request] = []

    def do(caller: socket.socket) -> None:
        seen.append(taken(caller))
        caller.sendall(frame.answer(7, b'{"any": "thing"}\n\0\xff'))

    path = serving(do)
    variables = {"CNI_CONTAINERID": "abc", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0",
                 "CNI_ARGS": "A=B;C=D=E", "CNI_PATH": "/opt/cni/bin"}  # fmt: skip
    environment = variables | {"CNI_COMMAND": "ADD", "PATH": os.environ["PATH"], "CNI_OTHER": "x"}
    done = subprocess.run([client], input=config(path), env=environment, stdout=-1, check=False)
    assert (done.returncode, done.stdout) == (7, b'{"any": "thing"}\n\0\xff')
    assert seen == [frame.Request(variables | {"CNI_COMMAND": "ADD"}, config(path))]
    fewest = {"CNI_COMMAND": "DEL", "PATH": os.environ["PATH"]}
    subprocess.run([client], input=config(path), env=fewest, stdout=-1, check=False)
    assert seen[1].environment == {"CNI_COMMAND": "DEL"}


@pytest.mark.parametrize(("command", "code"), [("ADD", 11), ("CHECK", 11), ("GC", 11), ("STATUS", 50)])
def test_agent_not_running(client: Path, command: str, code: int, tmp_path: Path) -> None:
    answer = call(client, config(tmp_path / "none"), command)
    answer.fails(code, f"{tmp_path}/none", "No such file", "is `romana-bus agent` running on this node?")
    assert answer.json["cniVersion"] == "1.0.0"
    assert answer.err == ""


@pytest.mark.parametrize(
    ("text", "path"),
    [
        (b"", "/run/romana-bus/cni.sock"),
        (b"{}", "/run/romana-bus/cni.sock"),
        (b'{"socket":"/a/b"}', "/a/b"),
        (b' {\n "x" : [ "socket" , "/no" ] , "socket" : "/a/b" }', "/a/b"),
        (b'{"x":{"socket":"/no"},"socket":"/a/b","y":{"socket":"/no"}}', "/a/b"),
        (b'{"x":[{"socket":"/no"},"}","socket"],"socket":"/a/b"}', "/a/b"),
        (b'{"x":"\\"socket\\":\\"/no\\"","socket":"/a/b"}', "/a/b"),
        (b'{"x":"\\\\","socket":"/a/b","y":"\\\\\\""}', "/a/b"),
        (b'{"s\\u006fcket":"\\/a\\u002fb"}', "/a/b"),
        (b'{"socket":"/no","socket":"/a/b"}', "/a/b"),
        (b'{"sockets":"/no","socke":"/no","socket":"/a/b","SOCKET":"/no"}', "/a/b"),
        (b'{"a":"socket","socket":"/a/b","c":"socket"}', "/a/b"),
        (b'{"socket":null,"timeout":null,"cniVersion":null}', "/run/romana-bus/cni.sock"),
        (b'{"socket":"/a/\\t\\u00","x":1}', "/a/??"[:4]),
    ],
)
def test_socket_path(client: Path, text: bytes, path: str) -> None:
    said = call(client, text).json
    assert said["code"] in (7, 11)
    assert f"answer at {path}" in said["msg"] or said["code"] == 7


@pytest.mark.parametrize("seed", range(3))
def test_the_socket_is_found_in_whatever_json_is_around_it(client: Path, seed: int) -> None:
    chance = random.Random(seed)
    words = ["socket", '"', "\\", "}", "{", ":", ",", "x", "é", "\u2028", "/no", "\x01"]

    def value(depth: int) -> Any:
        kind = chance.randrange(6 if depth else 3)
        if kind == 3:
            return [value(depth - 1) for _ in range(chance.randrange(4))]
        if kind > 3:
            return {"".join(chance.choices(words, k=2)): value(depth - 1) for _ in range(chance.randrange(4))}
        return chance.choice([chance.random(), None, True, "".join(chance.choices(words, k=4))])

    for number in range(15):
        document = {f"k{one}": value(4) for one in range(3)} | {"socket": f"/none/{number}"}
        document |= {f"l{one}": value(4) for one in range(3)}
        text = json.dumps(document, ensure_ascii=bool(number % 2), indent=chance.choice([None, 2]))
        call(client, text.encode()).fails(11, f"answer at /none/{number}")


def test_invalid_socket_path(client: Path) -> None:
    for path in ("", "/" + "x" * 107, "/a\u0000b", "/ü\u2028"):
        call(client, config(path)).fails(7, "socket")
    assert call(client, config("/" + "x" * 106)).json["code"] == 11
    nasty = call(client, b'{"socket":"/a\\"\\\\\\n\\u0007b\xff"}')
    nasty.fails(11, "/a????b?")


def test_missing_command_explains_the_plugin(client: Path) -> None:
    answer = invoke(client, {"PATH": os.environ["PATH"]}, b"")
    answer.fails(4, "CNI_COMMAND is not set", "container runtime")


def test_a_large_configuration_goes_through_and_a_larger_one_is_refused(client: Path, serving: Any) -> None:
    sizes: list[int] = []

    def do(caller: socket.socket) -> None:
        sizes.append(len(taken(caller).config))
        caller.sendall(frame.answer(0, b"x" * ((1 << 20) - 1)))

    path = serving(do)
    short = config(path)
    whole = short[:-1] + b" " * ((1 << 20) - len(short)) + b"}"
    answer = call(client, whole)
    assert (answer.code, len(answer.out)) == (0, (1 << 20) - 1)
    assert sizes == [1 << 20]
    call(client, whole + b" ").fails(7, "1048576 bytes")
    assert sizes == [1 << 20]
    call(client, short, CNI_ARGS="x" * (1 << 16)).fails(4, "CNI_ARGS")


@pytest.mark.parametrize("do", DEATHS)
def test_agent_that_dies_during_the_answer_gives_no_partial_result(
    client: Path, serving: Any, do: Any
) -> None:
    call(client, config(serving(do))).fails(11, "does not answer")


def test_an_answer_that_comes_byte_by_byte(client: Path, serving: Any) -> None:
    def do(caller: socket.socket) -> None:
        taken(caller)
        for one in frame.answer(3, b"slowly"):
            caller.sendall(bytes([one]))
            time.sleep(0.001)

    assert call(client, config(serving(do))) == Answer(3, "slowly", "")


def test_signals_interrupt_nothing(client: Path, serving: Any) -> None:
    """SIGCONT interrupts reads and writes, as a debugger or a suspended job does."""
    waiting, signalled = threading.Event(), threading.Event()

    def do(caller: socket.socket) -> None:
        taken(caller)
        answer = frame.answer(0, b"x" * 500_000)
        caller.sendall(answer[:1000])
        waiting.set()
        assert signalled.wait(20)
        caller.sendall(answer[1000:])

    environment = {"CNI_COMMAND": "ADD", "PATH": os.environ["PATH"]}
    with subprocess.Popen([client], stdin=-1, stdout=-1, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(config(serving(do)))
        process.stdin.close()
        assert waiting.wait(20)
        for _ in range(5):
            process.send_signal(signal.SIGSTOP)
            until(lambda: state_of(process.pid) == "T", "it has stopped")
            process.send_signal(signal.SIGCONT)
            until(lambda: state_of(process.pid) != "T", "it goes on")
        signalled.set()
        assert len(process.stdout.read()) == 500_000
        assert process.wait(20) == 0


def state_of(pid: int) -> str:
    """One letter (proc_pid_stat(5))."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_caller_that_does_not_read_ends_only_itself(client: Path, serving: Any) -> None:
    def do(caller: socket.socket) -> None:
        taken(caller)
        caller.sendall(frame.answer(0, b"x" * 500_000))

    environment = {"CNI_COMMAND": "ADD", "PATH": os.environ["PATH"]}
    path = serving(do)
    with subprocess.Popen([client], stdin=-1, stdout=-1, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.close()
        process.stdin.write(config(path))
        process.stdin.close()
        assert process.wait(20) == 1  # by itself, not by a signal


@pytest.mark.parametrize(
    "text",
    [
        b"{" * 1000,
        b"}" * 1000,
        b'"',
        b'{"socket":"',
        b'{"socket":"\\',
        b'{"timeout":1',
        b'{"timeout":1\0',
        b'{"socket":"\\u',
        b'{"socket":"\\u00',
        b"\0" * 100,
        b'{"timeout":1e999,"socket":"/none"}',
        b'{"timeout":1.2.3,"socket":"/none"}',
        b'{"socket":7}',
        b"\xff\xfe",
        b'{"x":"' + b"\\u0061" * 150_000 + b'"}',
    ],
)
def test_invalid_json_is_passed_to_the_agent(client: Path, text: bytes) -> None:
    assert call(client, text).json["code"] in (7, 11)


# --- an agent that hangs --------------------------------------------------------------------------------


class Waiting(NamedTuple):
    process: subprocess.Popen[bytes]
    command: str
    directory: Path

    def answer(self) -> Answer:
        assert self.process.stdout is not None
        said = self.process.stdout.read().decode()
        return Answer(self.process.wait(20), said, "")


@pytest.fixture(scope="module", autouse=True)
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Waiting]]:
    """Both executables, called when the tests of this file begin: they wait for ten seconds."""
    running = []
    with contextlib.ExitStack() as stack:
        for client in dict.fromkeys(CLIENTS.values()):
            directory = tmp_path_factory.mktemp("hangs")
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(directory / "s"))
            listener.listen(10)  # and nobody accepts
            (directory / "last-status").write_bytes(last_status(b"", 60_000))
            for command in ("ADD", "DEL", "STATUS"):
                environment = {"CNI_COMMAND": command, "CNI_CONTAINERID": "abc", "CNI_IFNAME": "eth0"}
                process = subprocess.Popen([client], stdin=-1, stdout=-1, env=environment | PATH)
                stack.enter_context(process)
                stack.callback(process.kill)
                assert process.stdin is not None
                process.stdin.write(config(directory / "s", timeout=0))
                process.stdin.close()
                running.append(Waiting(process, command, directory))
        yield running


def test_an_agent_that_hangs_is_given_up(waiting: list[Waiting]) -> None:
    for one in waiting:
        if one.command == "ADD":
            one.answer().fails(11, "Connection timed out")
        else:
            assert one.answer() == (0, "", "")
    kept = {one.directory / "spool" / "abc:eth0" for one in waiting}
    assert {file for one in waiting for file in one.directory.rglob("spool/*")} == kept
