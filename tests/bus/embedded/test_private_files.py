"""A private directory, and files that other users may have planted in it."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from romana_bus.bus.embedded import keeper, private_files
from romana_bus.bus.embedded.private_files import Unsafe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = keeper.open_directory(str(path))
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(Unsafe) as error, opened(path):
        pass
    text = str(error.value)
    assert "\n" not in text
    for part in parts:
        assert part in text


@pytest.mark.parametrize("mask", [0, 0o022, 0o077, 0o777])
def test_new_files_are_accessible_to_the_owner_only(tmp_path: Path, mask: int) -> None:
    there = tmp_path / "made" / "too" / "state"
    with umask(mask), opened(there) as directory:
        private_files.replace(directory, "server.json", "text")
        os.close(private_files.open_file(directory, "keeper.err", os.O_WRONLY | os.O_CREAT))
        assert private_files.read_end(directory, "server.json", 100) == b"text"
    assert {mode(one) for one in (there, there.parent, there.parent.parent)} == {0o700}
    assert {mode(one) for one in there.iterdir()} == {0o600}


@pytest.mark.parametrize("loose", [0o755, 0o777, 0o770, 0o2755])
def test_permissions_of_an_own_directory_are_tightened(tmp_path: Path, loose: int) -> None:
    there = tmp_path / "state"
    there.mkdir()
    there.chmod(loose)
    with opened(there):
        assert mode(there) & 0o777 == 0o700


def test_permissions_of_own_files_are_tightened(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text("text")
    (tmp_path / "server.json").chmod(0o666)
    with opened(tmp_path) as directory:
        assert private_files.read_end(directory, "server.json", 2) == b"xt"
    assert mode(tmp_path / "server.json") == 0o600


def test_symlink_instead_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "state").symlink_to("real")
    refused(tmp_path / "state", f"{tmp_path}/state is a symbolic link", "set XDG_STATE_HOME")
    with opened(tmp_path / "state" / "deeper"):  # on the way there one is as good as what it leads to
        assert (tmp_path / "real" / "deeper").is_dir()


@pytest.mark.parametrize("target", ["loop", "../loop", "a/../loop"])
def test_symlink_loops(tmp_path: Path, target: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "loop").symlink_to(target if target != "../loop" else f"../{tmp_path.name}/loop")
    with pytest.raises(OSError, match="Too many levels"), opened(tmp_path / "loop" / "state"):
        pass


@pytest.mark.parametrize("mask", [0o777, 0o707])
def test_parent_writable_by_others(tmp_path: Path, mask: int) -> None:
    loose = tmp_path / "loose"
    (loose / "state").mkdir(parents=True)
    loose.chmod(mask)
    refused(loose / "state", f"others can write to {loose}", f"`chmod go-w {loose}`")
    refused(loose / "ours" / "state", f"others can write to {loose}")
    assert not (loose / "ours").exists()
    (tmp_path / "way").symlink_to(loose)
    refused(tmp_path / "way" / "state", f"others can write to {loose}")
    loose.chmod(mask | stat.S_ISVTX)
    with opened(loose / "state"):
        pass


@as_root
def test_parent_writable_by_a_group(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    os.chown(shared, 0, 100)
    shared.chmod(0o775)
    refused(shared / "state", f"others can write to {shared} (mode 0775)")
    os.chown(shared, 0, 0)  # nobody is in it whom root does not trust
    with opened(shared / "state"):
        pass


@as_root
def test_directory_of_another_user(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    (theirs / "state").mkdir(parents=True)
    os.chown(theirs / "state", NOBODY, NOBODY)
    refused(theirs / "state", f"belongs to another user (uid {NOBODY})", "set XDG_STATE_HOME")
    os.chown(theirs, NOBODY, NOBODY)
    refused(theirs / "new", f"{theirs} belongs to another user")
    (tmp_path / "link").symlink_to("/")
    os.chown(tmp_path / "link", NOBODY, NOBODY, follow_symlinks=False)
    refused(tmp_path / "link" / "state", f"{tmp_path}/link is a symbolic link of another user")


FILES = ("keeper.lock", "keeper.err", "server.json", "nats.conf", "nats.err", "nats.log")


@pytest.mark.parametrize("name", [*FILES, "keeper.sock", "store"])
def test_planted_symlinks_and_pipes(tmp_path: Path, name: str) -> None:
    there, victim = tmp_path / "state", tmp_path / "victim"
    there.mkdir()
    there.chmod(0o777)
    victim.write_text("theirs")
    planted = there / name
    planted.symlink_to(victim)
    refused(there, f"{planted} is not a ", "Look at it, and remove it")
    planted.unlink()
    os.mkfifo(planted)
    refused(there, f"{planted} is not a ", "Look at it, and remove it")
    assert victim.read_text() == "theirs"


@pytest.mark.parametrize("name", FILES)
def test_planted_hard_links(tmp_path: Path, name: str) -> None:
    (tmp_path / "victim").write_text("theirs")
    (tmp_path / "state").mkdir()
    os.link(tmp_path / "victim", tmp_path / "state" / name)
    refused(tmp_path / "state", f"{name} is a hard link to a file that has another name too")


@as_root
@pytest.mark.parametrize("name", [*FILES, "store", "keeper.sock"])
def test_entries_of_another_user(tmp_path: Path, name: str) -> None:
    planted = tmp_path / name
    if name == "store":
        planted.mkdir()
    elif name == "keeper.sock":
        with contextlib.chdir(tmp_path), socket.socket(socket.AF_UNIX) as there:
            there.bind(name)
    else:
        planted.touch()
    os.chown(planted, NOBODY, NOBODY)
    refused(tmp_path, f"{planted} belongs to another user (uid {NOBODY})")


def test_store_writable_by_others(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)
    refused(tmp_path, "store was writable for others")


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY | os.O_CREAT | os.O_APPEND])
def test_single_file_is_checked_too(tmp_path: Path, flags: int) -> None:
    """Whatever came there since the directory was looked at."""
    (tmp_path / "victim").write_text("theirs")
    with opened(tmp_path) as directory:
        (tmp_path / "link").symlink_to("victim")
        os.mkfifo(tmp_path / "pipe")
        os.link(tmp_path / "victim", tmp_path / "hard")
        for name in ("link", "pipe", "hard"):
            with pytest.raises(Unsafe, match=f"{name} is .*remove it"):
                private_files.open_file(directory, name, flags)


def test_a_file_is_replaced_and_never_written_into(tmp_path: Path) -> None:
    with opened(tmp_path) as directory:
        (tmp_path / "victim").write_text("theirs")
        (tmp_path / "nats.conf").symlink_to("victim")
        (tmp_path / ".nats.conf.new").symlink_to("victim")
        private_files.replace(directory, "nats.conf", "ours")
    assert (tmp_path / "victim").read_text() == "theirs"
    assert not (tmp_path / "nats.conf").is_symlink()
    assert (tmp_path / "nats.conf").read_text() == "ours"
