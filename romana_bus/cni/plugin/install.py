"""Installs `romana-cni` and its network configuration where a container runtime looks for them.

Writes BIN_DIR/romana-cni and CONF_DIR/10-romana-bus.conflist, each as a whole or not at all. Both are written
to disk before either is renamed into place, the executable first: if the second rename fails, the new
executable works with the old configuration, or none. It chains those of the known plugins that are in
BIN_DIR, and uses the newest version of CNI that all of them support.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog

from romana_bus.cni.spec import VERSIONS
from romana_bus.errors import BadInput, Failed

if TYPE_CHECKING:
    from collections.abc import Sequence

log = structlog.get_logger(__name__)

PLUGIN, CONFLIST = "romana-cni", "10-romana-bus.conflist"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_HERE = Path(__file__).parent

#: Plugins that implement a pod's hostPort and bandwidth annotations.
_CHAINED: dict[str, dict[str, Any]] = {
    "portmap": {"capabilities": {"portMappings": True}, "snat": True},
    "bandwidth": {"capabilities": {"bandwidth": True}},
}


class Installed(NamedTuple):
    """What was installed. `oldest`: the plugin that allows no newer version. `first`: configurations in
    CONF_DIR that a runtime uses instead, since their names sort before ours. `after`: those that it does not
    use any more."""

    executable: Path
    conflist: Path
    plugins: tuple[str, ...]
    version: str
    oldest: str
    first: tuple[str, ...]
    after: tuple[str, ...]


def install(bin_dir: Path, conf_dir: Path, socket: Path, name: str, mtu: int) -> Installed:
    """Install both files. Raises BadInput if that is impossible, and nothing was changed; Failed if it
    failed, and at most the executable is new."""
    if not _NAME.fullmatch(name):
        raise BadInput(f"--name {name!r}: use letters, digits, '_', '.' and '-'")
    if mtu and not 68 <= mtu <= 65535:
        raise BadInput(f"--mtu {mtu}: must be 0, or between 68 and 65535")
    if len(os.fsencode(socket)) > 107:
        raise BadInput(
            f"--run-dir: {socket} is longer than a socket's path can be (107 bytes): use a shorter one"
        )
    _make({"--bin-dir": bin_dir, "--conf-dir": conf_dir})
    plugins, version, oldest = _chain(bin_dir)
    executable, config = bin_dir / PLUGIN, conf_dir / CONFLIST
    text = conflist(name, version, str(socket), mtu, plugins)
    _write([(executable, source().read_bytes(), 0o755), (config, text, 0o644)])
    return Installed(executable, config, plugins, version, oldest, *_others(conf_dir))


def conflist(name: str, version: str, socket: str, mtu: int, plugins: Sequence[str]) -> bytes:
    """The network configuration as it is written. `plugins`: those that are chained. Raises KeyError for one
    that is not known."""
    ours = {"type": PLUGIN, "socket": socket} | ({"mtu": mtu} if mtu else {})
    chained = [{"type": plugin} | _CHAINED[plugin] for plugin in plugins]
    document = {"cniVersion": version, "name": name, "plugins": [ours, *chained]}
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def source() -> Path:
    """The executable: the compiled one, if a compiler was found when the package was built."""
    compiled = _HERE / PLUGIN
    return compiled if compiled.is_file() else _HERE / "client.py"


def _make(directories: dict[str, Path]) -> None:
    """Make the directories that are missing. Raises BadInput unless all can be written to; then none is
    made."""
    made: list[Path] = []
    for option, directory in directories.items():
        try:
            if not directory.is_dir():
                directory.mkdir(mode=0o755, parents=True)
                made.append(directory)
            why = "" if os.access(directory, os.W_OK | os.X_OK) else "not writable; run this as root"
        except OSError as error:
            why = error.strerror or str(error)
        if why:
            for each in made:
                each.rmdir()
            raise BadInput(f"{option} {directory}: {why}, or name another")


def _others(conf_dir: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The other configurations, before and after ours."""
    names = configurations(conf_dir)
    return (
        tuple(name for name in names if name < CONFLIST),
        tuple(name for name in names if name > CONFLIST),
    )


def configurations(conf_dir: Path) -> list[str]:
    """The names of the network configurations that a runtime looks at, the one first that it uses."""
    return sorted(
        file.name for ending in ("conf", "conflist", "json") for file in conf_dir.glob(f"*.{ending}")
    )


# --- what can be chained --------------------------------------------------------------------------------


def _chain(bin_dir: Path) -> tuple[tuple[str, ...], str, str]:
    """The known plugins that are installed and work, the newest version that all of them support, and the
    plugin because of which it is no newer."""
    common, plugins, oldest = set(VERSIONS), list[str](), ""
    for name in _CHAINED:
        if not (bin_dir / name).exists():
            continue
        supported = common & versions(bin_dir / name)
        if supported:
            oldest = name if max(supported) < max(common) else oldest
            common, plugins = supported, [*plugins, name]
        else:
            log.warning("not chained: it supports none of our versions", plugin=str(bin_dir / name))
    return tuple(plugins), max(common), oldest


def versions(plugin: Path) -> set[str]:
    """The CNI versions that a plugin supports; none if it does not work."""
    try:
        answer = subprocess.run(
            [plugin],
            input=msgspec.json.encode({"cniVersion": VERSIONS[0]}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"CNI_COMMAND": "VERSION"},
            timeout=10.0,
            check=True,
        ).stdout
        return set(msgspec.json.decode(answer)["supportedVersions"])
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, KeyError, TypeError):
        return set()


# --- writing --------------------------------------------------------------------------------------------


def _write(files: list[tuple[Path, bytes, int]]) -> None:
    """Write all files to disk, then rename them into place. (`files.write` does this for a single file.)
    `files`: (path, content, mode). Raises Failed."""
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
