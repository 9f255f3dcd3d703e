"""An authorization directory: who exists, with which public keys, and a seed file for each.

    DIR/identities.json   roles and public keys
    DIR/server.conf       for servers with JetStream; leaf.conf: for leaf nodes
    DIR/creds/NAME.nk     the secret seed of NAME's newest key, mode 0600; no server needs it

The server's files are derived from identities.json, and written whole. A lock keeps two commands apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from typing import TYPE_CHECKING, Annotated, NamedTuple

import msgspec

from romana_bus import files
from romana_bus.bus.auth import server_file
from romana_bus.bus.auth.permissions import ACCOUNTS, Identity
from romana_bus.errors import BadInput, Failed, RomanaError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

IDENTITIES, SERVER, LEAF, CREDS = "identities.json", "server.conf", "leaf.conf", "creds"
#: Of a seed file: the line that names the identity, and a user's seed (nkeys).
NAMED = "# romana-bus identity: "
SEED = re.compile(r"SU[A-Z2-7]{56}")
#: Names become names of files and tokens of subjects, and all of it stands in the server's file.
Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,299}\Z")]
Role = Annotated[str, msgspec.Meta(pattern=rf"\A({'|'.join(ACCOUNTS)})\Z")]


class Key(msgspec.Struct, frozen=True):
    """A public key. `made`: RFC 3339, for people."""

    public: Annotated[str, msgspec.Meta(pattern=r"\AU[A-Z2-7]{55}\Z")]
    made: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One identity with its keys, the newest last; all of them are valid."""

    name: Name
    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)]
    nodes: tuple[Name, ...] = ()
    consumers: tuple[Name, ...] = ()
    keys: Annotated[tuple[Key, ...], msgspec.Meta(min_length=1)] = ()

    @property
    def identity(self) -> Identity:
        return Identity(self.name, self.roles, self.nodes, self.consumers)


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """identities.json."""

    cluster: Name
    identities: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError for two identities of one name."""
        if len({entry.name for entry in self.identities}) < len(self.identities):
            raise ValueError("two identities have one name")

    def entry(self, name: str) -> Entry:
        """Raises BadInput."""
        for entry in self.identities:
            if entry.name == name:
                return entry
        names = ", ".join(entry.name for entry in self.identities)
        raise BadInput(f"there is no identity {name}: there is {names or 'none'}")

    def with_entry(self, entry: Entry) -> Known:
        """The same with this entry, instead of the one of its name if there is one."""
        entries = {other.name: other for other in self.identities} | {entry.name: entry}
        return msgspec.structs.replace(self, identities=tuple(entries.values()))

    def without(self, name: str) -> Known:
        kept = tuple(entry for entry in self.identities if entry.name != name)
        return msgspec.structs.replace(self, identities=kept)


def seed_file(directory: Path, name: str) -> Path:
    return directory / CREDS / f"{name}.nk"


def read(directory: Path) -> Known:
    """Raises BadInput."""
    file = directory / IDENTITIES
    try:
        return msgspec.json.decode(_body(file), type=Known)
    except FileNotFoundError:
        raise BadInput(
            f"{directory}: not an authorization directory: make it with `romana-bus auth init`"
        ) from None
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: cannot be read: {error}") from None


def _body(file: Path) -> bytes:
    """Raises BadInput, OSError."""
    if file.exists() and not file.is_file():  # a pipe, for example, would be waited for
        raise BadInput(f"{file}: is not a file")
    return file.read_bytes()


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; it is created if it is missing. Raises BadInput, Failed."""
    creds = directory / CREDS
    try:
        for path, mode in ((directory, 0o755), (creds, 0o700)):
            if not path.is_dir():
                path.mkdir(parents=True)
                path.chmod(_mode(path, mode))  # whatever the umask
        lock = os.open(creds, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileExistsError, NotADirectoryError) as error:
        raise BadInput(f"{directory}: {error.strerror}") from None
    except OSError as error:
        raise _not_written(directory, error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def write(directory: Path, known: Known) -> bool:
    """Write identities.json and the server's files, those that are to change; returns whether the server's
    are among them. Raises BadInput, Failed."""
    users = [(entry.identity, [key.public for key in entry.keys]) for entry in known.identities]
    bodies = {
        IDENTITIES: msgspec.json.format(msgspec.json.encode(known), indent=1),
        LEAF: server_file.leaf_file(known.cluster, users).encode(),
        SERVER: server_file.server_file(known.cluster, users).encode(),
    }
    changed = False
    try:
        for name, body in bodies.items():
            file = directory / name
            if not file.exists() or file.read_bytes() != body:
                _put(file, body, 0o644)
                changed = changed or name != IDENTITIES
    except OSError as error:
        raise _not_written(directory, error) from None
    return changed


def _not_written(what: Path, error: OSError) -> RomanaError:
    """One that the user may not write is bad input."""
    kind = BadInput if isinstance(error, PermissionError) else Failed
    return kind(f"cannot write {what}: {error.strerror}")


def replace(directory: Path, before: Known, after: Known, seeds: Mapping[str, str]) -> None:
    """Write what is to be known after a change, and the seed files of new keys; all of it, or nothing.
    Raises BadInput, Failed."""
    try:
        write(directory, after)
        for name, seed in seeds.items():
            write_seed(directory, name, seed)
    except BaseException:  # an interruption too: a key without its seed would be of no use
        with contextlib.suppress(RomanaError):
            write(directory, before)
        for name in seeds.keys() - {entry.name for entry in before.identities}:
            with contextlib.suppress(OSError):
                seed_file(directory, name).unlink()
        raise


def _put(file: Path, body: bytes, mode: int) -> None:
    """Replace a file, with this mode whatever the umask. Raises OSError."""
    files.write(file, body, sync=True, mode=mode)
    file.chmod(_mode(file, mode))


def _mode(path: Path, mode: int) -> int:
    """The mode, but private in a private directory (that of an embedded server). Raises OSError."""
    return mode if path.parent.stat().st_mode & 0o077 else mode & 0o700


class NewKey(NamedTuple):
    """A key that was just made, and the text of its seed file."""

    key: Key
    seed: str


def new_key(name: str, made: str) -> NewKey:
    # Imported here, since few commands make a key: it takes 20 ms.
    import nkeys

    seed = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER)
    public = nkeys.from_seed(bytearray(seed)).public_key.decode()
    return NewKey(Key(public, made), f"{NAMED}{name}\n{seed.decode()}\n")


def write_seed(directory: Path, name: str, seed: str) -> None:
    """Write a seed file; last, so that whatever fails before leaves the old one in use. Raises BadInput,
    Failed."""
    try:
        _put(seed_file(directory, name), seed.encode(), 0o600)
    except OSError as error:
        raise _not_written(seed_file(directory, name), error) from None


def ensure(directory: Path, cluster: str, identities: Iterable[Identity], made: str = "") -> bool:
    """Add the identities that are missing, and write what another version of this program would have written
    differently; returns whether the server's files have changed. Raises BadInput, Failed."""
    with locked(directory):
        known = read(directory) if (directory / IDENTITIES).exists() else Known(cluster=cluster)
        if known.cluster != cluster:
            raise BadInput(f"{directory} is of cluster {known.cluster}, not {cluster}")
        existing = {entry.name: entry for entry in known.identities}
        seeds: dict[str, str] = {}
        for identity in identities:
            entry = existing.get(identity.name)
            if entry is not None and seed_file(directory, identity.name).exists():
                continue
            made_key = new_key(identity.name, made)
            keys = (*(entry.keys if entry else ()), made_key.key)
            known = known.with_entry(
                Entry(
                    name=identity.name, roles=identity.roles, nodes=identity.nodes,
                    consumers=identity.consumers, keys=keys,
                )
            )  # fmt: skip
            seeds[identity.name] = made_key.seed
        changed = write(directory, known)
        for name, seed in seeds.items():
            write_seed(directory, name, seed)
    return changed


def read_seed(file: Path) -> tuple[str, str]:
    """The seed in a file, and the name of its identity ('' if another program wrote the file); ('', '') if
    there is no seed in it. Raises OSError."""
    name = seed = ""
    for line in file.read_text(errors="replace").splitlines():
        if line.startswith(NAMED):
            name = line.removeprefix(NAMED).strip()
        elif SEED.fullmatch(line.strip()):
            seed = line.strip()
    return seed, name
