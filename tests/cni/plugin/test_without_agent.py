"""DEL and STATUS of the executable alone, in C and in Python, when no agent answers."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from romana_bus.cni import frame
from tests.cni.calling import Answer, invoke
from tests.cni.disks import fill, remount
from tests.cni.plugin.executable import DEATHS, PATH, call, config, last_status

if TYPE_CHECKING:
    from pathlib import Path

FILES, BYTES = 1024, 8 << 20


def delete(client: Path, path: Path, container: str = "abc", ifname: str = "eth0", **fields: Any) -> Answer:
    return call(client, config(path, **fields), "DEL", CNI_CONTAINERID=container, CNI_IFNAME=ifname)


def kept(directory: Path) -> list[str]:
    return sorted(file.name for file in (directory / "spool").iterdir())


KEPT = Answer(0, "", "")


def no_socket(path: Path) -> None:
    pass


def nobody_listens(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


def a_file(path: Path) -> None:
    path.write_text("")


@pytest.mark.parametrize("make", [no_socket, nobody_listens, a_file])
def test_del_is_kept_as_it_would_be_sent(client: Path, tmp_path: Path, make: Any) -> None:
    make(tmp_path / "s")
    environment = {
        "CNI_COMMAND": "DEL", "CNI_CONTAINERID": "abc", "CNI_NETNS": "/run/netns/x", "CNI_IFNAME": "eth0",
        "CNI_ARGS": "A=B;C=D=E\n\udcff", "CNI_PATH": "/opt/cni/bin",
    }  # fmt: skip
    stdin = config(tmp_path / "s", name="pods", x="\xff")
    assert invoke(client, environment | PATH, stdin) == KEPT
    assert kept(tmp_path) == ["abc:eth0"]
    file = tmp_path / "spool/abc:eth0"
    assert file.read_bytes() == frame.packed(environment, stdin)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("die", DEATHS)
def test_del_whose_agent_dies_during_the_answer_is_kept(client: Path, serving: Any, die: Any) -> None:
    path = serving(die)
    assert delete(client, path) == KEPT
    assert kept(path.parent) == ["abc:eth0"]


def test_answered_del_is_not_kept(client: Path, serving: Any) -> None:
    path = serving(lambda caller: caller.sendall(frame.answer(1, b"refused")))
    assert delete(client, path) == Answer(1, "refused", "")
    assert not (path.parent / "spool").exists()


def test_spool_is_created_where_a_reboot_left_nothing(client: Path, tmp_path: Path) -> None:
    assert delete(client, tmp_path / "run/s") == KEPT
    assert kept(tmp_path / "run") == ["abc:eth0"]
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700
    delete(client, tmp_path / "not/there/s").fails(11, "No such file", "was not kept")


def test_relative_socket_path(client: Path, tmp_path: Path) -> None:
    environment = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "abc", "CNI_IFNAME": "eth0"}
    done = subprocess.run([client], input=config("s"), env=environment | PATH, cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert kept(tmp_path) == ["abc:eth0"]


HOSTILE = ["", ".", "..", "../x", "a/b", "/x", ".hidden", "-x", "a:b", "a b", "a\nb", "a\udcff", "a\x7f", "ä",
           "x" * 256, "x" * 5000]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_names_create_nothing(client: Path, tmp_path: Path, hostile: str) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    answers = [delete(client, directory / "s", container=hostile)]
    if (
        "/" in hostile
        or len(hostile) > 15
        or ":" in hostile
        or not hostile.isascii()
        or not hostile.isprintable()
    ):
        answers.append(delete(client, directory / "s", ifname=hostile))
    for answer in answers:
        answer.fails(11, "does not answer", "was not kept for it")
    assert [file for file in tmp_path.rglob("*") if file.name not in ("run", "spool")] == []


def test_every_interface_name_that_the_agent_takes_is_kept(client: Path, tmp_path: Path) -> None:
    names = ["eth0", "a.b-c_d", "!\"#$%&'()*+,-.", ";<=>?@[\\]^_`{|", "}~", "x" * 15]
    for name in names:
        assert delete(client, tmp_path / "s", ifname=name) == KEPT, name
    assert kept(tmp_path) == sorted(f"abc:{name}" for name in names)


def test_spool_with_too_many_calls_takes_no_other(client: Path, tmp_path: Path) -> None:
    for number in range(FILES - 1):
        (tmp_path / "spool" / f"c{number}:eth0").parent.mkdir(exist_ok=True)
        (tmp_path / "spool" / f"c{number}:eth0").touch()
    assert delete(client, tmp_path / "s") == KEPT
    delete(client, tmp_path / "s", "other").fails(11, "it is full")
    assert delete(client, tmp_path / "s", name="again") == KEPT  # the same call takes its own place
    (tmp_path / "spool/c0:eth0").unlink()
    assert delete(client, tmp_path / "s", "other") == KEPT
    assert len(kept(tmp_path)) == FILES


def test_spool_with_too_many_bytes_takes_no_other(client: Path, tmp_path: Path) -> None:
    assert delete(client, tmp_path / "s") == KEPT
    os.truncate(tmp_path / "spool/abc:eth0", BYTES - 100)
    delete(client, tmp_path / "s", "other").fails(11, "it is full")
    assert delete(client, tmp_path / "s") == KEPT
    assert delete(client, tmp_path / "s", "other") == KEPT


@pytest.mark.parametrize(("how", "said"), [("full", "No space left"), ("read-only", "Read-only file system")])
def test_disk_that_takes_nothing(client: Path, tmp_path: Path, how: str, said: str) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        assert delete(client, tmp_path / "s") == KEPT
        if how == "full":
            fill(tmp_path)
        else:
            remount(tmp_path, "ro")
        for _ in range(2):
            delete(client, tmp_path / "s", "other").fails(11, said)
        assert kept(tmp_path) == ["abc:eth0"]  # nothing half written is left
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_killed_in_the_middle_leaves_no_call(client: Path, tmp_path: Path) -> None:
    """At its 100th byte: the kernel kills the C client for it, while Python gets an error."""
    limit = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (100, 100))
    environment = {"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "abc", "CNI_IFNAME": "eth0"}
    stdin = config(tmp_path / "s")
    done = subprocess.run(
        [client], input=stdin, env=environment | PATH, capture_output=True, check=False, preexec_fn=limit
    )
    assert done.returncode
    assert [name for name in kept(tmp_path) if not name.startswith(".")] == []
    assert delete(client, tmp_path / "s") == KEPT
    assert "abc:eth0" in kept(tmp_path)


def test_many_at_once_are_all_kept(client: Path, tmp_path: Path) -> None:
    containers = [f"c{number % 20}" for number in range(60)]  # some of them twice
    with ThreadPoolExecutor(20) as threads:
        answers = list(threads.map(lambda name: delete(client, tmp_path / "s", name), containers))
    assert set(answers) == {KEPT}
    assert kept(tmp_path) == sorted({f"{name}:eth0" for name in containers})
    for file in (tmp_path / "spool").iterdir():
        size = int.from_bytes(file.read_bytes()[:4], "big")
        assert file.stat().st_size == 4 + size


# --- STATUS ---------------------------------------------------------------------------------------------

REFUSED = b'{"cniVersion":"1.1.0","code":50,"msg":"node n1 has no block of addresses"}\n'


def status(client: Path, directory: Path, kept_answer: bytes) -> Answer:
    (directory / "last-status").write_bytes(kept_answer)
    return call(client, config(directory / "s", cniVersion="1.1.0"), "STATUS")


def test_last_answer_counts_for_a_while(client: Path, tmp_path: Path) -> None:
    assert status(client, tmp_path, last_status(b"", 60_000)) == (0, "", "")
    assert status(client, tmp_path, last_status(b"", 60_000, ago=50_000)) == (0, "", "")
    assert status(client, tmp_path, last_status(REFUSED, 60_000, code=1)) == (1, REFUSED.decode(), "")
    for command in ("ADD", "CHECK", "GC"):
        call(client, config(tmp_path / "s"), command).fails(11, "does not answer")


OUTDATED = {
    "expired": partial(last_status, b"", 60_000, ago=60_000),
    "from before a reboot": partial(last_status, b"", 60_000, ago=-3_600_000),
    "of no grace": partial(last_status, b"", 0),
}
NONSENSE = {
    "empty": b"",
    "cut": b"0",
    "old": b"0 1 2",
    "a line": b"\n",
    "words": b"x y z\n",
    "a long number": b"0 " + b"9" * 400 + b" 1\n",
    "no line": b"0 -1 9999999999999\xff",
    "zeros": b"\0" * 100,
    "long": b"x" * 3_000_000,
}


@pytest.mark.parametrize("name", [*OUTDATED, *NONSENSE])
def test_last_answer_that_does_not_count(client: Path, tmp_path: Path, name: str) -> None:
    text = OUTDATED[name]() if name in OUTDATED else NONSENSE[name]
    status(client, tmp_path, text).fails(
        50, "does not answer", "No such file", "is `romana-bus agent` running"
    )


def test_last_answer_that_is_no_file(client: Path, tmp_path: Path) -> None:
    file = tmp_path / "last-status"
    (tmp_path / "x").write_bytes(last_status(b"", 60_000))
    for make in (file.mkdir, partial(os.mkfifo, file), partial(file.symlink_to, tmp_path / "x")):
        make()
        call(client, config(tmp_path / "s"), "STATUS").fails(50, "does not answer")
        file.rmdir() if file.is_dir() else file.unlink()
