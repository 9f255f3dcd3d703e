"""A directory of our own, and the files in it, which nobody else may read, change or stand in for.

Whoever can write to a directory can put a link, a pipe or a file of theirs in the place of each entry. So
every directory that leads here is looked at, and everything that is opened here. Standard library only.
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
#: Symbolic links that a path may go through, as in the kernel.
LINKS = 40

_KINDS = {stat.S_IFREG: "regular file", stat.S_IFSOCK: "socket", stat.S_IFDIR: "directory"}
_OPEN = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe would make open() wait


class Unsafe(Exception):
    """Others could interfere. Its text is one line that says what to do."""


def open_directory(path: str) -> int:
    """A descriptor of the directory, which is made where it is missing, and closed to others where it is
    open to them. Raises Unsafe, OSError."""
    parent, name = os.path.split(path)
    there = os.path.join(_trusted(parent), name)
    _make(there)
    if stat.S_ISLNK(os.lstat(there).st_mode):
        raise Unsafe(f"{path} is a symbolic link: {ELSEWHERE}")
    directory = os.open(there, os.O_RDONLY | os.O_DIRECTORY | _OPEN)
    try:
        _close_to_others(directory, path)
    except BaseException:
        os.close(directory)
        raise
    return directory


def _close_to_others(directory: int, path: str) -> None:
    found = os.fstat(directory)
    if found.st_uid != os.geteuid():
        raise Unsafe(f"{path} belongs to another user (uid {found.st_uid}): {ELSEWHERE}")
    if found.st_mode & 0o077:
        os.fchmod(directory, stat.S_IMODE(found.st_mode) & ~0o077)
        if os.fstat(directory).st_mode & 0o077:
            raise Unsafe(f"the file system of {path} keeps no file modes: {ELSEWHERE}")


def _trusted(path: str) -> str:
    """The same path without symbolic links; what is missing of it is made. Raises Unsafe, OSError."""
    at, left, links = "/", path.split("/")[::-1], 0
    while left:
        name = left.pop()
        if name in ("", "."):
            continue
        if name == "..":
            at = os.path.dirname(at)
            continue
        _refuse_loose(at)
        there = os.path.join(at, name)
        _make(there)
        found = os.lstat(there)
        if not stat.S_ISLNK(found.st_mode):
            at = there
            continue
        if not _is_trusted(found.st_uid):
            raise Unsafe(f"{there} is a symbolic link of another user (uid {found.st_uid}): {ELSEWHERE}")
        links += 1
        if links > LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(there)
        at = "/" if target.startswith("/") else at
        left += target.split("/")[::-1]
    _refuse_loose(at)
    return at


def _make(path: str) -> None:
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # whatever the umask


def _refuse_loose(path: str) -> None:
    """Somebody else could exchange what is in this directory."""
    found = os.stat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if not _is_trusted(found.st_uid):
        raise Unsafe(f"{path} belongs to another user (uid {found.st_uid}): {ELSEWHERE}")
    loose = found.st_mode & 0o002 or (found.st_mode & 0o020 and not _is_own_group(found.st_gid))
    if loose and not found.st_mode & stat.S_ISVTX:
        mode = f"{stat.S_IMODE(found.st_mode):04o}"
        raise Unsafe(f"others can write to {path} (mode {mode}): `chmod go-w {path}`, or {ELSEWHERE}")


def _is_trusted(uid: int) -> bool:
    """Ourselves, root, and whom the root directory belongs to (root itself, in a container's user
    namespace that does not know root)."""
    return uid in (os.geteuid(), 0, os.stat("/").st_uid)


def _is_own_group(gid: int) -> bool:
    """Root's, or the one that many systems make for each user, and open the user's directories to."""
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
    """What is there has to be ours. `kinds`: name -> S_IFREG, S_IFSOCK or S_IFDIR. Raises Unsafe, OSError."""
    for name, kind in kinds.items():
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=directory, follow_symlinks=False)
            _refuse_foreign(found, os.path.join(path, name), kind)


def _refuse_foreign(found: os.stat_result, path: str, kind: int = stat.S_IFREG) -> None:
    """Raises Unsafe."""
    if stat.S_IFMT(found.st_mode) != kind:
        problem = f"is not a {_KINDS[kind]}"
    elif found.st_uid != os.geteuid():
        problem = f"belongs to another user (uid {found.st_uid})"
    elif kind == stat.S_IFREG and found.st_nlink > 1:
        problem = "is a hard link to a file that has another name too"
    elif kind == stat.S_IFDIR and found.st_mode & 0o022:
        problem = "was open for others to write to"
    else:
        return
    raise Unsafe(f"{path} {problem}: somebody else may have put it there. Look at it, and remove it")


def open_file(directory: int, name: str, flags: int) -> int:
    """A descriptor of a regular file of ours, for us alone. Raises Unsafe, OSError."""
    try:
        descriptor = os.open(name, flags | _OPEN, 0o600, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):
            raise
        raise Unsafe(f"{name} is a symbolic link or a pipe: look at it, and remove it") from None
    try:
        found = os.fstat(descriptor)
        _refuse_foreign(found, name)
        if stat.S_IMODE(found.st_mode) != 0o600:
            os.fchmod(descriptor, 0o600)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def read_end(directory: int, name: str, at_most: int) -> bytes:
    """The last bytes of a file. Raises Unsafe, OSError."""
    with os.fdopen(open_file(directory, name, os.O_RDONLY), "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - at_most))
        return file.read(at_most)


def replace(directory: int, name: str, text: str) -> None:
    """Whole or not at all. Raises Unsafe, OSError."""
    new = f".{name}.new"
    remove(directory, new)
    with os.fdopen(open_file(directory, new, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
        file.write(text)
    os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)


def remove(directory: int, name: str) -> None:
    """It may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
