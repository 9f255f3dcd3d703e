"""The CNI specification: parses and checks calls, and writes answers in the requested version.

Pure. https://github.com/containernetworking/cni/blob/main/SPEC.md, versions 0.4.0, 1.0.0 and 1.1.0.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

VERSIONS = ("0.4.0", "1.0.0", "1.1.0")
NEWEST = VERSIONS[-1]
COMMANDS = ("ADD", "DEL", "CHECK", "STATUS", "GC")
#: The version in which a command was introduced.
SINCE = {"STATUS": "1.1.0", "GC": "1.1.0"}

# Error codes of the specification; from 100 on they are ours.
INCOMPATIBLE, ENVIRONMENT, IO, UNDECODABLE, CONFIG, NETNS, AGAIN, UNAVAILABLE = 1, 4, 5, 6, 7, 8, 11, 50
KERNEL, FAULTY = 100, 101

#: Seconds that an ADD waits for an address, unless the configuration says otherwise; and at most.
TIMEOUT, LONGEST = 10.0, 600.0

#: The namespace of containers that no kubelet runs. Kubernetes allows no such name, so no pod is one of them.
CONTAINERS = "_containers"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_IFNAME = re.compile(r"[!-.0-9;-~]{1,15}")
_POD = re.compile(r"[A-Za-z0-9._:-]{0,253}")
_STATIC = re.compile(r"[0-9a-f]{32}")


class CniError(Exception):
    """A call was refused or failed: the error object that the caller gets."""

    def __init__(self, code: int, message: str, details: str = "") -> None:
        super().__init__(f"{message}: {details}" if details else message)
        self.code, self.message, self.details = code, message, details


class Attached(msgspec.Struct, frozen=True):
    """An interface of a container, which a runtime attaches to a network."""

    container: str = msgspec.field(name="containerID")
    ifname: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a network configuration that are used. GC lists the valid attachments under
    `cni.dev/valid-attachments`; libcni 1.2.0 to 1.2.2 uses only `cni.dev/attachments`."""

    cni_version: str = msgspec.field(default="", name="cniVersion")
    name: str = ""
    mtu: int = 0
    timeout: float | None = None
    dns: dict[str, Any] | None = None
    previous: dict[str, Any] | None = msgspec.field(default=None, name="prevResult")
    valid: tuple[Attached, ...] | None = msgspec.field(default=None, name="cni.dev/valid-attachments")
    attachments: tuple[Attached, ...] | None = msgspec.field(default=None, name="cni.dev/attachments")


class Pod(msgspec.Struct, frozen=True):
    """The pod of a sandbox, as the kubelet names it. `uid`: '' if the runtime does not tell it. A container
    that no kubelet runs is a pod of the namespace CONTAINERS, with its container id as uid."""

    namespace: str = ""
    name: str = ""
    uid: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def static(self) -> bool:
        """Whether it is a static pod: the kubelet makes their uids itself, with MD5 and without dashes
        (applyDefaults in pkg/kubelet/config/common.go)."""
        return bool(_STATIC.fullmatch(self.uid))

    def named(self, other: Pod) -> bool:
        """Whether both have the same namespace and name."""
        return (self.namespace, self.name) == (other.namespace, other.name)

    def may_be(self, other: Pod) -> bool:
        """Whether both may be the same pod: same name, and the same uid unless one is unknown."""
        return self.named(other) and (self.uid == other.uid or not (self.uid and other.uid))


class Call(NamedTuple):
    """One call of the plugin, from its CNI_* environment and standard input. `command`: ADD, DEL, CHECK,
    STATUS or GC. `container`: CNI_CONTAINERID. `netns`: path of the pod's namespace; '' if it does not exist.
    `ifname`: the interface in the pod. `pod`: from CNI_ARGS (K8S_POD_*). `config`: the network
    configuration. STATUS and GC have only `config`."""

    command: str
    container: str
    netns: str
    ifname: str
    pod: Pod
    config: Config

    @property
    def attached(self) -> Attached:
        return Attached(self.container, self.ifname)


class Interface(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An interface in a result. `sandbox`: path of its network namespace; '' on the host."""

    name: str
    mac: str = ""
    mtu: int = 0
    sandbox: str = ""


class Address(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An address in a result. `interface`: index into the result's interfaces."""

    address: str
    gateway: str = ""
    interface: int | None = None


class Route(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    dst: str
    gw: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """The result of ADD: the fields that all versions have."""

    interfaces: tuple[Interface, ...] = ()
    ips: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: dict[str, Any] = {}


_config = msgspec.json.Decoder(Config)
_NO_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def version_of(config: bytes) -> str:
    """The version for an error object: that of the configuration if it is supported, else the newest."""
    try:
        named = msgspec.json.decode(config).get("cniVersion")
    except (*_NO_JSON, AttributeError):
        return NEWEST
    return named if named in VERSIONS else NEWEST


def parse(environment: dict[str, str], stdin: bytes) -> Call:
    """Parse and check a call. Raises CniError, which names the wrong variable or field."""
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise CniError(ENVIRONMENT, f"CNI_COMMAND {command!r}: one of {', '.join(COMMANDS)}, VERSION")
    config = _checked(_decoded(stdin), command)
    if command in ("STATUS", "GC"):
        return Call(command, "", "", "", Pod(), config)
    container = _variable(environment, "CNI_CONTAINERID", _ID)
    ifname = _variable(environment, "CNI_IFNAME", _IFNAME)
    if ifname in (".", ".."):
        raise CniError(ENVIRONMENT, f"CNI_IFNAME {ifname!r}: not an interface name")
    netns = environment.get("CNI_NETNS", "")
    if not netns.isprintable() or (command != "DEL" and not netns.startswith("/")):
        raise CniError(
            ENVIRONMENT, f"CNI_NETNS {netns!r}: the absolute path of a network namespace is needed"
        )
    pod = _pod(environment.get("CNI_ARGS", ""), container)
    if command == "ADD" and not pod.name:
        raise CniError(ENVIRONMENT, "CNI_ARGS: K8S_POD_NAMESPACE needs K8S_POD_NAME")
    if command == "ADD" and config.previous is not None:
        raise CniError(CONFIG, "prevResult: romana-cni gives a pod its first interface, so it is the first "
                       "plugin of its list")  # fmt: skip
    if command == "CHECK" and config.previous is None:
        raise CniError(CONFIG, "prevResult: CHECK needs the result of the ADD")
    return Call(command, container, netns, ifname, pod, config)


def _decoded(stdin: bytes) -> Config:
    try:
        if b"null" in stdin:  # seldom
            return msgspec.convert(_without_nulls(msgspec.json.decode(stdin)), Config)
        return _config.decode(stdin)
    except msgspec.ValidationError as error:
        raise CniError(CONFIG, "the network configuration cannot be used", str(error)) from None
    except _NO_JSON as error:
        raise CniError(UNDECODABLE, "the network configuration is not a JSON object", str(error)) from None


def _without_nulls(value: Any) -> Any:
    """A JSON value in which no object has a member null: to a runtime that is the same as none."""
    if isinstance(value, dict):
        return {key: _without_nulls(member) for key, member in value.items() if member is not None}
    return [_without_nulls(element) for element in value] if isinstance(value, list) else value


def _checked(config: Config, command: str) -> Config:
    if config.cni_version not in VERSIONS:
        text = f"config is {config.cni_version or 'without cniVersion'}, plugin supports {list(VERSIONS)}"
        raise CniError(INCOMPATIBLE, "incompatible CNI versions", text)
    if config.cni_version < SINCE.get(command, ""):
        raise CniError(
            INCOMPATIBLE, f"{command} came with CNI {SINCE[command]}, config is {config.cni_version}"
        )
    if not _ID.fullmatch(config.name):
        raise CniError(CONFIG, f"name {config.name!r}: letters, digits, '_', '.', '-' are needed")
    if config.mtu and not 68 <= config.mtu <= 65535:
        raise CniError(CONFIG, f"mtu {config.mtu}: must be 0, or between 68 and 65535")
    if config.timeout is not None and not 0 <= config.timeout <= LONGEST:
        raise CniError(CONFIG, f"timeout {config.timeout:g}: must be between 0 and {LONGEST:g} seconds")
    if command == "GC" and config.valid is None and config.attachments is None:
        raise CniError(CONFIG, "cni.dev/valid-attachments: GC needs the list of valid attachments")
    return config


def _variable(environment: dict[str, str], name: str, allowed: re.Pattern[str]) -> str:
    value = environment.get(name, "")
    if not allowed.fullmatch(value):
        raise CniError(ENVIRONMENT, f"{name} {value!r}: " + ("cannot be used" if value else "is missing"))
    return value


def _pod(arguments: str, container: str) -> Pod:
    """The pod of a call. Callers without a kubelet give no name (`ctr`), or only the container's (podman)."""
    given = dict(pair.partition("=")[::2] for pair in arguments.split(";"))
    values = [given.get(f"K8S_POD_{name}", "") for name in ("NAMESPACE", "NAME", "UID")]
    for value in values:
        if not _POD.fullmatch(value):
            raise CniError(ENVIRONMENT, f"CNI_ARGS: {value!r} is not a Kubernetes name")
    namespace, name, uid = values
    return Pod(namespace, name, uid) if namespace else Pod(CONTAINERS, name or container, container)


def previous(config: Config) -> Result:
    """The prevResult, in any of the versions. Raises CniError."""
    try:
        return msgspec.convert(config.previous, Result)
    except msgspec.ValidationError as error:
        raise CniError(CONFIG, "prevResult cannot be used", str(error)) from None


def result(version: str, made: Result) -> bytes:
    """The answer of an ADD in a version."""
    interfaces = [msgspec.to_builtins(interface) for interface in made.interfaces]
    ips = [msgspec.to_builtins(ip) for ip in made.ips]
    if version < "1.1.0":
        for interface in interfaces:
            interface.pop("mtu", None)
    if version < "1.0.0":
        ips = [{"version": "6" if ":" in ip["address"] else "4"} | ip for ip in ips]
    body = {
        "cniVersion": version,
        "interfaces": interfaces,
        "ips": ips,
        "routes": made.routes,
        "dns": made.dns,
    }
    return msgspec.json.encode(body) + b"\n"


def failure(version: str, error: CniError) -> bytes:
    body = {"cniVersion": version, "code": error.code, "msg": error.message}
    return msgspec.json.encode(body | ({"details": error.details} if error.details else {})) + b"\n"
