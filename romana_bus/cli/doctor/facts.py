"""The facts that checks judge, each gathered as a whole or not at all. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from romana_bus.inet import Prefix
    from romana_bus.ipam.audit.finding import Finding
    from romana_bus.ipam.change.overlaps import NetworkOverlap
    from romana_bus.routing.obstacles import Foreign

# --- of a node ------------------------------------------------------------------------------------------


class Kernel(NamedTuple):
    """What the kernel can do. `ipv6`: whether it has IPv6; `ipv6_disabled`: by the sysctl all.disable_ipv6.
    `nftables`: None if it is not known."""

    release: str
    nexthop_objects: bool
    ipv6: bool
    ipv6_disabled: bool
    nftables: bool | None


class Sysctl(NamedTuple):
    """A sysctl that does not let pods be served. `name`: as `sysctl` takes it. `vital`: pods have no network
    without it."""

    name: str
    value: str
    right: str
    meaning: str
    vital: bool


class Sysctls(NamedTuple):
    """`wrong`: those that are. `read_only`: why sysctls of pods' links cannot be set, as texts."""

    wrong: tuple[Sysctl, ...]
    read_only: tuple[str, ...]


class Mtu(NamedTuple):
    """`uplink`: the link of the default route, '' if there is none. `pods`: host ends of pods' links ->
    MTU."""

    uplink: str
    mtu: int
    pods: dict[str, int]


class ForeignRoutes(NamedTuple):
    """Routes of the main table that are not ours and share addresses with pods' networks. `networks`: those
    of pods. `own`: the prefixes of this node's groups. `routes`: (prefix, protocol, how it goes on)."""

    networks: tuple[Prefix, ...]
    own: tuple[Prefix, ...]
    routes: tuple[tuple[Prefix, int, str], ...]


class RouteDelta(NamedTuple):
    """The delta between the routes that the log wants on this node, and those of its kernel, as seen twice.
    `known`: whether the log knows the node. `missing`, `surplus`, `changed`: texts. `refused`: prefix -> why
    no route may lead there. `routes`: how many there are. `by_default`: blocks of other nodes that are
    reached by the default route."""

    node: str
    known: bool
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    changed: tuple[str, ...]
    refused: dict[str, str]
    routes: int
    by_default: int = 0


class Obstacles(NamedTuple):
    """What others have set up. `pods`: the prefixes of pods. `by_default`: see RouteDelta."""

    foreign: Foreign
    pods: tuple[Prefix, ...]
    by_default: int


class PodLinks(NamedTuple):
    """Pods' links compared with their attachments, as seen twice. `drifts`: link with its pod -> what is
    wrong. `gone`: those without a link. `links`: how many there are."""

    drifts: dict[str, tuple[str, ...]]
    gone: tuple[str, ...]
    links: int


class Chained(NamedTuple):
    """A plugin of our network configuration after romana-cni. `versions`: of CNI that it supports, () if it
    does not work; None if it is not there."""

    name: str
    versions: tuple[str, ...] | None


class Plugin(NamedTuple):
    """What the runtime reads. `trouble`: why its own configuration cannot be read, or ''. `runtime`: its
    name. `file`: its configuration, or ''. `present`: whether the executable is there. `versions`: of CNI
    that it answers. `ours`: our conflist's name, '' if there is none. `invalid`: why our conflist cannot be
    used, or ''. `version`: its cniVersion. `first`: the name of the configuration that the runtime uses, ''
    if there is none. `socket`: the agent's, by our conflist. `expected`: by --run-dir."""

    trouble: str = ""
    runtime: str = ""
    file: str = ""
    bin_dir: str = ""
    conf_dir: str = ""
    present: bool = False
    versions: tuple[str, ...] = ()
    ours: str = ""
    invalid: str = ""
    version: str = ""
    first: str = ""
    socket: str = ""
    expected: str = ""
    chained: tuple[Chained, ...] = ()


class Agent(NamedTuple):
    """The agent's answer to STATUS. `trouble`: why there was none, or ''. `code`: of CNI, 0 if the node is
    ready; `text`: of the answer. `spooled`: calls that wait for the agent."""

    socket: str
    trouble: str = ""
    code: int = 0
    text: str = ""
    spooled: int = 0


# --- of the cluster -------------------------------------------------------------------------------------


class Nats(NamedTuple):
    """`where`: its URLs. `trouble`: why the log cannot be used, or ''. `version`: of the server."""

    where: str
    trouble: str = ""
    version: str = ""


class Streams(NamedTuple):
    """`messages`: in all logs. `table_lag`: stream -> messages by which its table is behind. `lost`: why a
    stream may be stale, as texts. `alarms`: what is nearly full."""

    messages: int
    table_lag: dict[str, int]
    lost: tuple[str, ...]
    alarms: tuple[str, ...]


class NatsSettings(NamedTuple):
    """Rows of the table of settings. `wrong`: setting -> what is wrong and what to do. `hidden`: setting ->
    what it needs, of those that only the monitoring port shows."""

    wrong: dict[str, str]
    hidden: dict[str, str]


class Clocks(NamedTuple):
    """Seconds: `nats`: by which this machine's clock is ahead of the NATS server's; `api`: of the API
    server's, None if it was not heard. `future`: stream -> by how much its newest event is ahead of the NATS
    server."""

    nats: float
    api: float | None
    future: dict[str, float]


class Writers(NamedTuple):
    """`leaderless`: stream -> the command that starts its writer. `unsynced`: resources that are not synced,
    as texts. `parked`, `foreign`, `refused`: as texts, see `status`."""

    leaderless: dict[str, str]
    unsynced: tuple[str, ...]
    parked: tuple[str, ...]
    foreign: tuple[str, ...]
    refused: tuple[str, ...]


class Nodes(NamedTuple):
    """`total`: nodes of the log. `trouble`: node -> problems, as `status` has them. `denied`: node -> why it
    has no place. `reporting`: how many have an agent that reports."""

    total: int
    trouble: dict[str, tuple[str, ...]]
    denied: dict[str, str]
    reporting: int


class Networks(NamedTuple):
    """`networks`: of pods, with their prefixes. `overlaps`: with what nodes or Services live on."""

    networks: dict[str, str]
    overlaps: tuple[NetworkOverlap, ...]


class ApiServer(NamedTuple):
    """`trouble`: why it does not answer as it should, or ''. `rules`: those that these credentials lack, each
    with what the server said."""

    where: str
    trouble: str = ""
    rules: tuple[str, ...] = ()
    said: str = ""
    resources: tuple[str, ...] = ()


class Addresses(NamedTuple):
    """What two audits in a row have found. `unsettled`: why nothing can be concluded yet, or ''."""

    nodes: int
    pods: int
    kernels: int
    findings: tuple[Finding, ...]
    unsettled: str
