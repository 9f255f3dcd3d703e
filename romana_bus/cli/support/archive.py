"""Writes the archive: as a whole or not at all, never over another file, of a bounded size."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from typing import TYPE_CHECKING

from romana_bus.errors import BadInput, Failed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def check(path: Path) -> None:
    """Raises BadInput if the archive cannot be made there."""
    if path.exists() or path.is_symlink():
        raise BadInput(f"--output {path}: exists already; name another file")
    if not path.parent.is_dir():
        raise BadInput(f"--output {path}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise BadInput(f"--output {path}: {path.parent} is not writable")


def write(path: Path, files: Mapping[str, bytes], time: float) -> None:
    """Write a .tar.gz that only its owner can read. `files`: name -> contents. `time`: of all of them,
    seconds. Raises Failed, BadInput."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    folder = path.name.removesuffix(".tar.gz")
    try:
        with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
            with tarfile.open(fileobj=stream, mode="w:gz") as archive:
                for name, body in files.items():
                    entry = tarfile.TarInfo(f"{folder}/{name}")
                    entry.size, entry.mode, entry.mtime = len(body), 0o600, int(time)
                    archive.addfile(entry, io.BytesIO(body))
            stream.flush()
            os.fsync(stream.fileno())
        os.link(scratch, path)  # a rename would replace what somebody has put there meanwhile
    except FileExistsError:
        raise BadInput(f"--output {path}: exists already; name another file") from None
    except OSError as error:
        raise Failed(f"{path} cannot be written: {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink()
