"""Where the container runtimes of this node look for network plugins and their configurations.

Read from containerd's configuration (version 2 and 3, with its imports; docs/cri/config.md of containerd) and
CRI-O's (crio.conf.d(5)). Nothing is written.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What runtimes use that are not told otherwise; and Debian's place of plugins.
BIN_DIR, CONF_DIR = Path("/opt/cni/bin"), Path("/etc/cni/net.d")
DEBIAN = Path("/usr/lib/cni")
#: Tables of containerd's CRI plugin: of configuration version 2, and of 3.
_CONTAINERD = ("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime")


class Runtime(NamedTuple):
    """`file`: its configuration, '' where none was found."""

    name: str
    file: str
    bin_dir: Path
    conf_dir: Path


def found(root: Path = Path("/")) -> Runtime:
    """The runtime of this node: containerd's configuration, CRI-O's, or what runtimes do without one.
    `root`: of the file system. Raises BadInput if a configuration cannot be read."""
    for look in (_containerd, _crio):
        if runtime := look(root):
            return runtime
    debian = (root / DEBIAN.relative_to("/")).is_dir() and not (root / BIN_DIR.relative_to("/")).is_dir()
    return Runtime("the runtime", "", DEBIAN if debian else BIN_DIR, CONF_DIR)


def _containerd(root: Path) -> Runtime | None:
    file = root / "etc/containerd/config.toml"
    if not file.is_file():
        return None
    keys: dict[str, Any] = {}
    main = _read(file)
    for document in (main, *(_read(other) for other in _imported(root, file, main))):
        for table in _CONTAINERD:
            keys |= _table(document, "plugins", table, "cni")
    directories = keys.get("bin_dirs") or [keys.get("bin_dir")]
    return _made("containerd", file, directories, keys.get("conf_dir"))


def _imported(root: Path, file: Path, document: dict[str, Any]) -> Iterator[Path]:
    """The files that a configuration imports: patterns, relative to it or absolute."""
    imports = document.get("imports")
    for pattern in imports if isinstance(imports, list) else ():
        if isinstance(pattern, str) and pattern:
            base = root if pattern.startswith("/") else file.parent
            yield from sorted(base.glob(pattern.lstrip("/")))


def _crio(root: Path) -> Runtime | None:
    main = root / "etc/crio/crio.conf"
    files = [file for file in (main, *sorted((root / "etc/crio/crio.conf.d").glob("*"))) if file.is_file()]
    if not files:
        return None
    keys: dict[str, Any] = {}
    for file in files:
        keys |= _table(_read(file), "crio", "network")
    return _made("CRI-O", files[-1], keys.get("plugin_dirs"), keys.get("network_dir"))


def _made(name: str, file: Path, bin_dirs: Any, conf_dir: Any) -> Runtime:
    bin_dir = next(iter(bin_dirs), None) if isinstance(bin_dirs, list) else None
    return Runtime(name, str(file), _path(bin_dir) or BIN_DIR, _path(conf_dir) or CONF_DIR)


def _path(value: Any) -> Path | None:
    return Path(value) if isinstance(value, str) and value.startswith("/") else None


def _table(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """The table at that place, {} if there is none."""
    value: Any = document
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        why = error.strerror or str(error)
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, too deep
        why = str(error)
    raise BadInput(f"{file}: {why}: mend it, or name the directories with --bin-dir and --conf-dir")
