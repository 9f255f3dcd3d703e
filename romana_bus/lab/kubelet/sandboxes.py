"""The sandboxes of one node's pods: a network namespace each, and a record on disk.

A record is written before its namespace is created, and removed after it. So everything that a crash leaves
is found again: an incomplete sandbox, a sandbox whose namespace a power cut removed, and a namespace without
a record. Blocking.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from romana_bus.errors import Failed
from romana_bus.lab.kubelet import libcni, pods
from romana_bus.lab.machine import netns, processes
from romana_bus.lab.machine.directory import write

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.lab.kubelet.libcni import ConfList, Plugins

Json = dict[str, Any]


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """The record of a sandbox. `netns`: its namespace; that of the node for a pod with hostNetwork.
    `complete`: it has its network and `addresses`. `since`: RFC 3339."""

    id: str
    uid: str
    namespace: str
    name: str
    netns: str
    since: str
    on_host: bool = False
    complete: bool = False
    addresses: tuple[str, ...] = ()
    capabilities: dict[str, Any] = {}


class Ground(NamedTuple):
    """The node of the sandboxes. `netns`: its namespace. `host`: its addresses. `directory`: its directory in
    the lab. `conf`: the directory of CNI configurations."""

    netns: str
    host: tuple[str, ...]
    directory: Path
    conf: Path

    @property
    def prefix(self) -> str:
        """The prefix of the names of its pods' namespaces."""
        return f"{self.netns}-pod-"


class Sandboxes:
    """The sandboxes of one node. `of`: pod uid -> sandbox."""

    def __init__(self, ground: Ground, plugins: Plugins) -> None:
        self.ground, self._plugins = ground, plugins
        self._records = ground.directory / "sandboxes"
        self._records.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.of = {sandbox.uid: sandbox for sandbox in read_records(ground.directory)}
        self._remove_strangers()

    def _remove_strangers(self) -> None:
        known = {sandbox.netns for sandbox in self.of.values()}
        for name in netns.named(self.ground.prefix):
            if name not in known:
                netns.delete(name)

    def is_alive(self, sandbox: Sandbox) -> bool:
        return sandbox.complete and netns.exists(sandbox.netns)

    def create(self, pod: Json, now: str) -> Sandbox:
        """Create a sandbox with its network. If that fails, the sandbox is removed, at the latest before the
        next attempt. Raises Failed, CniError."""
        sandbox = self._begin(pod, now)
        if sandbox.on_host:
            return self._keep(msgspec.structs.replace(sandbox, complete=True, addresses=self.ground.host))
        try:
            netns.add(sandbox.netns)
            result = self._plugins.add(self._conf(), self._attachment(sandbox))
        except (libcni.CniError, Failed):
            with contextlib.suppress(libcni.CniError, Failed):
                self.remove(sandbox)
            raise
        addresses = tuple(str(ip["address"]).partition("/")[0] for ip in result.get("ips") or ())
        return self._keep(msgspec.structs.replace(sandbox, complete=True, addresses=addresses))

    def remove(self, sandbox: Sandbox) -> None:
        """Remove a sandbox. May be repeated. Raises CniError; the record stays then."""
        if not sandbox.on_host:
            conf = self._conf(optional=True)
            attachment = self._attachment(sandbox)
            if conf is not None:
                self._plugins.delete(conf, attachment)
            processes.end(netns.processes([sandbox.netns]))
            netns.delete(sandbox.netns)
        self._path(sandbox).unlink(missing_ok=True)
        self.of.pop(sandbox.uid, None)

    def why_not_ready(self) -> str:
        """Why no sandbox can get a network now, or ''."""
        try:
            self._plugins.status(self._conf())
        except libcni.CniError as error:
            return str(error)
        return ""

    def _begin(self, pod: Json, now: str) -> Sandbox:
        number = secrets.token_hex(32)
        on_host = pods.on_host_network(pod)
        namespace, name = pods.key(pod)
        capabilities = {"portMappings": pods.port_mappings(pod), "bandwidth": pods.bandwidth(pod)}
        return self._keep(
            Sandbox(
                id=number,
                uid=pods.uid(pod),
                namespace=namespace,
                name=name,
                netns=self.ground.netns if on_host else f"{self.ground.prefix}{number[:12]}",
                since=now,
                on_host=on_host,
                capabilities={key: value for key, value in capabilities.items() if value},
            )
        )

    def _keep(self, sandbox: Sandbox) -> Sandbox:
        write(self._path(sandbox), msgspec.json.encode(sandbox))
        self.of[sandbox.uid] = sandbox
        return sandbox

    def _path(self, sandbox: Sandbox) -> Path:
        return self._records / f"{sandbox.id}.json"

    def _conf(self, optional: bool = False) -> ConfList | Any:
        conf = libcni.load(self.ground.conf)
        if conf is None and not optional:
            raise libcni.CniError(f"no CNI configuration in {self.ground.conf}")
        return conf

    def _attachment(self, sandbox: Sandbox) -> libcni.Attachment:
        """The sandbox's attachment, with the arguments of containerd and CRI-O. `netns` is '' if the
        namespace does not exist any more."""
        return libcni.Attachment(
            container=sandbox.id,
            netns=str(netns.path(sandbox.netns)) if netns.exists(sandbox.netns) else "",
            arguments=(
                ("IgnoreUnknown", "1"),
                ("K8S_POD_NAMESPACE", sandbox.namespace),
                ("K8S_POD_NAME", sandbox.name),
                ("K8S_POD_INFRA_CONTAINER_ID", sandbox.id),
                ("K8S_POD_UID", sandbox.uid),
            ),
            capabilities=sandbox.capabilities,
        )


def read_records(directory: Path) -> list[Sandbox]:
    """The sandboxes of a node, from their records on disk."""
    sandboxes = []
    for path in sorted((directory / "sandboxes").glob("[!.]*.json")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            sandboxes.append(msgspec.json.decode(path.read_bytes(), type=Sandbox))
    return sandboxes
