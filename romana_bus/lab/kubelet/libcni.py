"""Calls CNI plugins as libcni does (containernetworking/cni, libcni/api.go): ADD runs a list of plugins, each
with the result of the previous one; DEL runs them in reverse order.

Blocking; one call at a time per attachment. Owns the cache of results, which DEL and CHECK need; an
unreadable entry counts as absent.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.errors import RomanaError
from romana_bus.lab.machine import netns
from romana_bus.lab.machine.directory import write

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

Json = dict[str, Any]

#: Seconds that one plugin may take: the kubelet's longest runtimeRequestTimeout, for a whole sandbox.
WITHIN = 240.0
_BUSY_TRIES = 5
_CACHE_KIND = "cniCacheV1"
#: The file name extensions that container runtimes read; they sort the files by name.
_SUFFIXES = (".conflist", ".conf", ".json")


class CniError(RomanaError):
    """A plugin failed. `code`: as in the specification; 0 if the plugin gave none."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code


class ConfList(NamedTuple):
    """A network configuration list. `document`: the complete decoded JSON."""

    name: str
    version: str
    plugins: tuple[Json, ...]
    disable_check: bool
    disable_gc: bool
    document: Json

    def at_least(self, *version: int) -> bool:
        """Whether its version of the specification is at least this one."""
        return tuple(int(part) for part in self.version.split(".")) >= version


class Attachment(NamedTuple):
    """One interface of one sandbox. `netns`: '' if the sandbox has ended. `capabilities`: the values that a
    plugin gets as runtimeConfig if its configuration asks for them (portMappings ...)."""

    container: str
    netns: str
    interface: str = "eth0"
    arguments: tuple[tuple[str, str], ...] = ()
    capabilities: Mapping[str, Any] = MappingProxyType({})


def read_list(document: Any) -> ConfList:
    """The configuration list in a decoded document. Raises CniError."""
    if not isinstance(document, dict) or not isinstance(document.get("name"), str):
        raise CniError("a CNI configuration needs a name")
    plugins = document.get("plugins", [document] if "type" in document else [])
    if not plugins or not all(isinstance(plugin, dict) and plugin.get("type") for plugin in plugins):
        raise CniError(f"the CNI configuration {document['name']} has no plugins, or one without a type")
    versions = [document.get("cniVersion") or "", *document.get("cniVersions", [])]
    known = [version for version in versions if _number(version)]
    return ConfList(
        name=document["name"],
        version=max(known, key=_number, default="0.2.0"),
        plugins=tuple(plugins),
        disable_check=str(document.get("disableCheck", "")).lower() == "true",
        disable_gc=str(document.get("disableGC", "")).lower() == "true",
        document=document,
    )


def _number(version: str) -> tuple[int, ...]:
    """The parts of a version; () if it is not a version, or newer than 1.1.0."""
    try:
        numbers = tuple(int(part) for part in version.split("."))
    except ValueError:
        return ()
    return numbers if numbers <= (1, 1, 0) else ()


def load(directory: Path) -> ConfList | None:
    """The first usable configuration in a directory, chosen as by containerd and CRI-O; None if there is
    none."""
    with contextlib.suppress(OSError):
        for path in sorted(directory.iterdir()):
            if path.suffix in _SUFFIXES:
                with contextlib.suppress(OSError, msgspec.DecodeError, CniError):
                    return read_list(msgspec.json.decode(path.read_bytes()))
    return None


class Plugins:
    """`search`: the directories of plugins. `cache`: the directory of cached results. `namespace`: the
    network namespace in which plugins run, the node's; '': our own."""

    def __init__(self, search: Sequence[Path], cache: Path, namespace: str = "") -> None:
        self._search, self._cache, self._namespace = tuple(search), cache, namespace

    def add(self, conf: ConfList, to: Attachment) -> Json:
        """Run ADD; returns the last plugin's result. Raises CniError; then call `delete`, as runtimes do."""
        result: Json | None = None
        for plugin in conf.plugins:
            try:
                result = msgspec.json.decode(
                    self._call("ADD", conf, plugin, to, prevResult=result), type=Json
                )
            except msgspec.DecodeError as error:
                raise CniError(f"{_described(plugin)} failed (add): no result: {error}") from None
            except CniError as error:
                raise CniError(f"{_described(plugin)} failed (add): {error}", error.code) from None
            result.setdefault("cniVersion", conf.version)
        self._remember(conf, to, result or {})
        return result or {}

    def delete(self, conf: ConfList, of: Attachment) -> None:
        """Run DEL, with the configuration and arguments of the ADD if they are cached. May be repeated.
        Raises CniError; plugins that ran before the failure are not rolled back."""
        kept = self._kept(conf.name, of)
        if kept:
            with contextlib.suppress(CniError):
                conf = read_list(kept["config"])
            arguments = tuple((key, value) for key, value in kept.get("cniArgs") or ())
            of = of._replace(
                arguments=arguments or of.arguments, capabilities=kept.get("capabilityArgs") or {}
            )
        previous = kept.get("result") if conf.at_least(0, 4) else None
        for plugin in reversed(conf.plugins):
            try:
                self._call("DEL", conf, plugin, of, prevResult=previous)
            except CniError as error:
                raise CniError(f"{_described(plugin)} failed (delete): {error}", error.code) from None
        self._kept_at(conf.name, of).unlink(missing_ok=True)

    def check(self, conf: ConfList, of: Attachment) -> None:
        """Run CHECK. Raises CniError if a plugin finds a fault, or the version does not support CHECK."""
        if not conf.at_least(0, 4):
            raise CniError(f"configuration version {conf.version} does not support the CHECK command")
        if conf.disable_check:
            return
        for plugin in conf.plugins:
            self._call("CHECK", conf, plugin, of, prevResult=self._kept(conf.name, of).get("result"))

    def status(self, conf: ConfList) -> None:
        """Run STATUS, if the version supports it. Raises CniError if a plugin cannot serve an ADD now."""
        if conf.at_least(1, 1):
            for plugin in conf.plugins:
                self._call("STATUS", conf, plugin)

    def collect(self, conf: ConfList, valid: Sequence[tuple[str, str]]) -> None:
        """Run GC. `valid`: (container, interface) of the existing attachments. Raises CniError, but only
        after all plugins have run."""
        if conf.disable_gc:
            return
        for kept in self.attachments():
            if kept.get("networkName") == conf.name and (kept["containerId"], kept["ifName"]) not in valid:
                gone = Attachment(kept["containerId"], kept.get("netns") or "", kept["ifName"])
                self.delete(conf, gone)
        if not conf.at_least(1, 1):
            return
        attachments = [{"containerID": container, "ifname": interface} for container, interface in valid]
        failed = ""
        for plugin in conf.plugins:
            try:
                self._call("GC", conf, plugin | {"cni.dev/valid-attachments": attachments})
            except CniError as error:
                failed = failed or f"{_described(plugin)} failed (gc): {error}"
        if failed:
            raise CniError(failed)

    def attachments(self) -> list[Json]:
        """The cache entries of attachments that were added and not deleted."""
        paths = sorted((self._cache / "results").glob("[!.]*"))
        return [kept for path in paths if (kept := _read(path))]

    # --- one plugin ---

    def _call(
        self, command: str, conf: ConfList, plugin: Json, on: Attachment | None = None, **more: Any
    ) -> bytes:
        config = plugin | {"name": conf.name, "cniVersion": conf.version}
        config |= {key: value for key, value in more.items() if value is not None}
        if on is not None and (given := _runtime_config(plugin, on)):
            config["runtimeConfig"] = given
        return self._execute(self._found(plugin["type"]), self._environment(command, on), config)

    def _found(self, kind: str) -> Path:
        """The path of a plugin's executable. Raises CniError."""
        if not kind or "/" in kind:
            raise CniError(f"invalid plugin name: {kind}")
        for directory in self._search:
            if (path := directory / kind).is_file():
                return path
        searched = " ".join(map(str, self._search))
        raise CniError(f'failed to find plugin "{kind}" in path [{searched}]')

    def _environment(self, command: str, on: Attachment | None) -> dict[str, str]:
        on = on or Attachment("", "", "")
        return dict(os.environ) | {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": on.container,
            "CNI_NETNS": on.netns,
            "CNI_ARGS": ";".join(f"{key}={value}" for key, value in on.arguments),
            "CNI_IFNAME": on.interface,
            "CNI_PATH": os.pathsep.join(map(str, self._search)),
        }

    def _execute(self, path: Path, environment: dict[str, str], config: Json) -> bytes:
        """Raises CniError."""
        for left in reversed(range(_BUSY_TRIES + 1)):
            try:
                with netns.inside(self._namespace):
                    process = subprocess.Popen(
                        [path], stdin=-1, stdout=-1, stderr=-1, env=environment, start_new_session=True
                    )
                break
            except OSError as error:
                if error.errno != errno.ETXTBSY or not left:  # the file is being written
                    raise CniError(f"{path} cannot be run: {error.strerror}") from None
                time.sleep(1.0)
        with process:
            try:
                out, err = process.communicate(msgspec.json.encode(config), WITHIN)
            except subprocess.TimeoutExpired:
                process.kill()
                raise CniError(f"{path} gave no answer within {WITHIN:g} s") from None
        if process.returncode:
            raise _refusal(process.returncode, out, err)
        return out

    # --- results that were kept ---

    def _kept_at(self, network: str, of: Attachment) -> Path:
        return self._cache / "results" / f"{network}-{of.container}-{of.interface}"

    def _kept(self, network: str, of: Attachment) -> Json:
        return _read(self._kept_at(network, of))

    def _remember(self, conf: ConfList, of: Attachment, result: Json) -> None:
        path = self._kept_at(conf.name, of)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kept = {
            "kind": _CACHE_KIND,
            "containerId": of.container,
            "config": conf.document,
            "ifName": of.interface,
            "networkName": conf.name,
            "netns": of.netns,
            "cniArgs": of.arguments,
            "capabilityArgs": dict(of.capabilities),
            "result": result,
        }
        write(path, msgspec.json.encode(kept))


def _read(path: Path) -> Json:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        kept = msgspec.json.decode(path.read_bytes(), type=Json)
        if kept.get("kind") == _CACHE_KIND:
            return kept
    return {}


def _runtime_config(plugin: Json, on: Attachment) -> Json:
    """The runtimeConfig of a plugin: only the capabilities that its configuration declares."""
    wanted: Iterable[str] = (name for name, able in (plugin.get("capabilities") or {}).items() if able)
    return {name: on.capabilities[name] for name in wanted if name in on.capabilities}


def _described(plugin: Json) -> str:
    return f'plugin type="{plugin["type"]}"'


def _refusal(code: int, out: bytes, err: bytes) -> CniError:
    """The error that a failed plugin reported (pkg/invoke/raw_exec.go)."""
    if not out:
        said = err.decode(errors="replace").strip()
        words = f"netplugin failed: {said}" if said else "netplugin failed with no error message"
        return CniError(f"{words}: exit code {code}")
    try:
        error = msgspec.json.decode(out, type=Json)
    except msgspec.DecodeError:
        return CniError(f"netplugin failed but error parsing its diagnostic message {out[:200]!r}")
    said = "; ".join(filter(None, [str(error.get("msg", "")), str(error.get("details", ""))]))
    return CniError(said, int(error.get("code", 0)))
