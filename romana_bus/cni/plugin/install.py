"""`romana-cni` and its network configuration, put where a container runtime looks for them.

Writes BIN_DIR/romana-cni and CONF_DIR/10-romana-bus.conflist, each whole or not at all. Both are on the disk
before either takes its place, the executable first: where the second cannot take its own, the new executable
stands with the configuration that was there, or none. Of the plugins that may stand behind ours it chains
those that are in BIN_DIR, and names the newest version of CNI that all of them know.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog

from romana_bus.cni.spec import VERSIONS
from romana_bus.errors import BadInput, Failed

log = structlog.get_logger(__name__)

PLUGIN, CONFLIST = "romana-cni", "10-romana-bus.conflist"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_HERE = Path(__file__).parent

#: Plugins that make what a pod's hostPort and bandwidth annotations ask for.
_CHAINED: dict[str, dict[str, Any]] = {
    "portmap": {"capabilities": {"portMappings": True}, "snat": True},
    "bandwidth": {"capabilities": {"bandwidth": True}},
}


class Installed(NamedTuple):
    """`first`: configurations in CONF_DIR that a runtime takes instead, since their names come first."""

    executable: Path
    conflist: Path
    plugins: tuple[str, ...]
    version: str
    first: tuple[str, ...]


def install(bin_dir: Path, conf_dir: Path, socket: Path, name: str, mtu: int) -> Installed:
    """Raises BadInput where it cannot be done: nothing was changed. Raises Failed where it went wrong: at
    most the executable is new."""
    for option, directory in (("--bin-dir", bin_dir), ("--conf-dir", conf_dir)):
        _usable(option, directory)
    if not _NAME.fullmatch(name):
        raise BadInput(f"--name {name!r}: letters, digits, '_', '.' and '-'")
    if mtu and not 68 <= mtu <= 65535:
        raise BadInput(f"--mtu {mtu}: 0, or between 68 and 65535")
    if len(os.fsencode(socket)) > 107:
        raise BadInput(f"--run-dir: {socket} is longer than the 107 bytes that the path of a socket has")
    plugins, version = _chain(bin_dir)
    ours = {"type": PLUGIN, "socket": str(socket)} | ({"mtu": mtu} if mtu else {})
    chained = [{"type": one} | _CHAINED[one] for one in plugins]
    conflist = {"cniVersion": version, "name": name, "plugins": [ours, *chained]}
    executable, config = bin_dir / PLUGIN, conf_dir / CONFLIST
    text = msgspec.json.format(msgspec.json.encode(conflist), indent=2) + b"\n"
    _write([(executable, source().read_bytes(), 0o755), (config, text, 0o644)])
    return Installed(executable, config, plugins, version, _first(conf_dir))


def source() -> Path:
    """The executable: compiled where a compiler was found when this was built."""
    compiled = _HERE / PLUGIN
    return compiled if compiled.is_file() else _HERE / "client.py"


def _usable(option: str, directory: Path) -> None:
    if not directory.is_dir():
        raise BadInput(f"{option} {directory}: there is no such directory; make it, or name another")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise BadInput(f"{option} {directory}: not writable; run this as root, or name another")


def _first(conf_dir: Path) -> tuple[str, ...]:
    names = [file.name for ending in ("conf", "conflist", "json") for file in conf_dir.glob(f"*.{ending}")]
    return tuple(sorted(one for one in names if one < CONFLIST))


# --- what can be chained --------------------------------------------------------------------------------


def _chain(bin_dir: Path) -> tuple[tuple[str, ...], str]:
    """The plugins that are there and work, and the newest version that all of them know."""
    common, plugins = set(VERSIONS), list[str]()
    for one in _CHAINED:
        if not (bin_dir / one).exists():
            continue
        known = common & _versions(bin_dir / one)
        if known:
            common, plugins = known, [*plugins, one]
        else:
            log.warning("not chained: it does not say that it knows our versions", plugin=str(bin_dir / one))
    return tuple(plugins), max(common)


def _versions(plugin: Path) -> set[str]:
    """What it says that it supports; nothing where it does not work."""
    try:
        said = subprocess.run(
            [plugin],
            input=msgspec.json.encode({"cniVersion": VERSIONS[0]}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"CNI_COMMAND": "VERSION"},
            timeout=10.0,
            check=True,
        ).stdout
        return set(msgspec.json.decode(said)["supportedVersions"])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, KeyError, TypeError):
        return set()


# --- writing --------------------------------------------------------------------------------------------


def _write(files: list[tuple[Path, bytes, int]]) -> None:
    """All are on the disk before the first takes its place. Raises Failed."""
    ready: list[tuple[Path, Path]] = []
    try:
        for file, body, mode in files:
            scratch = file.with_name(f".{file.name}.{os.getpid()}")
            ready.append((scratch, file))
            _put(scratch, body, mode)
        for scratch, file in ready:
            scratch.replace(file)
    except OSError as error:
        raise Failed(f"cannot write {error.filename}: {error.strerror}") from None
    finally:
        for scratch, _ in ready:
            with contextlib.suppress(OSError):
                scratch.unlink(missing_ok=True)


def _put(file: Path, body: bytes, mode: int) -> None:
    with file.open("wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(body)
        stream.flush()
        os.fsync(stream.fileno())
