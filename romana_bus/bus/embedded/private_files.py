"""A private directory and its files, which no other user can read, change or replace.

Whoever can write to a directory can replace each of its entries with a link, a pipe or another file. So every
directory on the path is checked, and every file that is opened. Standard library only.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import os
import pwd
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

ELSEWHERE = "use a directory that only you can write to: set XDG_STATE_HOME (for a recording: TMPDIR)"
#: How many symbolic links a path may contain, as in the kernel.
LINKS = 40

_KINDS = {stat.S_IFREG: "regular file", stat.S_IFSOCK: "socket", stat.S_IFDIR: "directory"}
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # O_NONBLOCK: a pipe would make open() wait


class Unsafe(Exception):
    """Another user could interfere. The text is one line that says what to do."""


def open_directory(path: str) -> int:
    """A descriptor of the directory. It is created if it is missing, and made private if it is not.
    Raises Unsafe, OSError."""
    parent, name = os.path.split(path)
    resolved = os.path.join(_trusted(parent), name)
    _create(resolved)
    if stat.S_ISLNK(os.lstat(resolved).st_mode):
        raise Unsafe(f"{path} is a symbolic link: {ELSEWHERE}")
    directory = os.open(resolved, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    try:
        _make_private(directory, path)
    except BaseException:
        os.close(directory)
        raise
    return directory


def _make_private(directory: int, path: str) -> None:
    status = os.fstat(directory)
    if status.st_uid != os.geteuid():
        raise Unsafe(f"{path} belongs to another user (uid {status.st_uid}): {ELSEWHERE}")
    if status.st_mode & 0o077:
        os.fchmod(directory, stat.S_IMODE(status.st_mode) & ~0o077)
        if os.fstat(directory).st_mode & 0o077:
            raise Unsafe(f"the file system of {path} keeps no file modes: {ELSEWHERE}")


def _trusted(path: str) -> str:
    """The same path without symbolic links; missing directories are created. Raises Unsafe, OSError."""
    resolved, remaining, links = "/", path.split("/")[::-1], 0
    while remaining:
        name = remaining.pop()
        if name in ("", "."):
            continue
        if name == "..":
            resolved = os.path.dirname(resolved)
            continue
        _check_directory(resolved)
        entry = os.path.join(resolved, name)
        _create(entry)
        status = os.lstat(entry)
        if not stat.S_ISLNK(status.st_mode):
            resolved = entry
            continue
        if not _is_trusted(status.st_uid):
            raise Unsafe(f"{entry} is a symbolic link of another user (uid {status.st_uid}): {ELSEWHERE}")
        links += 1
        if links > LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(entry)
        resolved = "/" if target.startswith("/") else resolved
        remaining += target.split("/")[::-1]
    _check_directory(resolved)
    return resolved


def _create(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # whatever the umask


def _check_directory(path: str) -> None:
    """Raises Unsafe if another user could replace the entries of this directory, NotADirectoryError."""
    status = os.stat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if not _is_trusted(status.st_uid):
        raise Unsafe(f"{path} belongs to another user (uid {status.st_uid}): {ELSEWHERE}")
    writable = status.st_mode & 0o002 or (status.st_mode & 0o020 and not _is_own_group(status.st_gid))
    if writable and not status.st_mode & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        raise Unsafe(f"others can write to {path} (mode {mode}): `chmod go-w {path}`, or {ELSEWHERE}")


def _is_trusted(uid: int) -> bool:
    """Whether it is this user, root, or the owner of / (root itself, where a container's user namespace does
    not map root)."""
    return uid in (os.geteuid(), 0, os.stat("/").st_uid)


def _is_own_group(gid: int) -> bool:
    """Whether it is root's group, or the private group that many systems create for each user."""
    if gid == 0:
        return True
    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    named_alike = user.pw_uid == gid or user.pw_name == group.gr_name
    return user.pw_gid == gid and named_alike and {user.pw_name}.issuperset(group.gr_mem)


# --- what is in it --------------------------------------------------------------------------------------


def check(directory: int, path: str, kinds: Mapping[str, int]) -> None:
    """Check that existing entries are ours. `kinds`: name -> S_IFREG, S_IFSOCK or S_IFDIR. Raises Unsafe,
    OSError."""
    for name, kind in kinds.items():
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            _refuse_foreign(status, os.path.join(path, name), kind)


def _refuse_foreign(status: os.stat_result, path: str, kind: int = stat.S_IFREG) -> None:
    """Raises Unsafe."""
    if stat.S_IFMT(status.st_mode) != kind:
        problem = f"is not a {_KINDS[kind]}"
    elif status.st_uid != os.geteuid():
        problem = f"belongs to another user (uid {status.st_uid})"
    elif kind == stat.S_IFREG and status.st_nlink > 1:
        problem = "is a hard link to a file that has another name too"
    elif kind == stat.S_IFDIR and status.st_mode & 0o022:
        problem = "was writable for others"
    else:
        return
    raise Unsafe(f"{path} {problem}: somebody else may have put it there. Look at it, and remove it")


def open_file(directory: int, name: str, flags: int) -> int:
    """A descriptor of a private regular file. Raises Unsafe, OSError."""
    try:
        descriptor = os.open(name, flags | _OPEN, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise Unsafe(f"{name} is a symbolic link or a pipe: look at it, and remove it") from None
    try:
        status = os.fstat(descriptor)
        _refuse_foreign(status, name)
        if stat.S_IMODE(status.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_end(directory: int, name: str, at_most: int) -> bytes:
    """The last `at_most` bytes of a file. Raises Unsafe, OSError."""
    with os.fdopen(open_file(directory, name, os.O_RDONLY), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - at_most))
        return file.read(at_most)


def replace(directory: int, name: str, text: str) -> None:
    """Write a file, as a whole or not at all; in a directory that is open, since another user could put a
    different one at its path (so not by `files.write`). Raises Unsafe, OSError."""
    new = f".{name}.new"
    remove(directory, new)
    with os.fdopen(open_file(directory, new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        file.write(text)
    os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)


def remove(directory: int, name: str) -> None:
    """Delete a file, if it exists."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
