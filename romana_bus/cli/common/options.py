"""The options that commands share, and the settings made of them."""

from __future__ import annotations

import math
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from romana_bus import tasks
from romana_bus.bus.connect import Access
from romana_bus.bus.store_size import Size, parse_size
from romana_bus.bus.stream_config import DAY, Layout
from romana_bus.cli.common.groups import ADDRESSES, KUBERNETES, NEW_LOG, OUTPUT, STORE
from romana_bus.cli.common.terminal import print_error
from romana_bus.errors import BadInput
from romana_bus.events import SLOT_BITS, Settings
from romana_bus.events.settings import MOST_WARM_BLOCKS
from romana_bus.ipam.topology.document import cidr_of
from romana_bus.ipam.topology.special import doubtful, unusable

if TYPE_CHECKING:
    from romana_bus.kubernetes.api import Target

#: Where an agent keeps its files, unless --run-dir and --state-dir say otherwise.
RUN_DIR, STATE_DIR = Path("/run/romana-bus"), Path("/var/lib/romana-bus")

Level = Literal["debug", "info", "warning", "error"]

#: A cluster's name, which is part of names of streams and directories.
CLUSTER = re.compile(r"[A-Za-z0-9-]{1,64}")


@Parameter(name="*", group=STORE)
@dataclass(frozen=True)
class Connection:
    """Where the log is. Without --nats: on a server on this machine, which the first command that needs it
    starts, and which ends with the last one."""

    nats: Annotated[tuple[str, ...], Parameter(env_var="ROMANA_NATS", negative="")] = ()
    """URL of a NATS server; repeat it for the servers of one NATS cluster."""
    creds: Annotated[Path | None, Parameter(env_var="ROMANA_NATS_CREDS")] = None
    """Credentials for NATS: a file that `romana-bus auth` made, a NATS credentials file, or a directory that
    has a file for each role."""
    tls_ca: Path | None = None
    """Certificate authority of the NATS server, PEM."""
    tls_cert: Path | None = None
    """Our certificate for NATS, PEM."""
    tls_key: Path | None = None
    """The key of --tls-cert, PEM."""
    nats_monitor: Annotated[str, Parameter(env_var="ROMANA_NATS_MONITOR")] = ""
    """URL of the NATS server's monitoring port, to check its settings and its storage."""
    cluster: Annotated[str, Parameter(env_var="ROMANA_CLUSTER")] = "default"
    """Name of the Kubernetes cluster; each has a log of its own."""

    @property
    def access(self) -> Access:
        """Raises BadInput."""
        if bool(self.tls_cert) != bool(self.tls_key):
            raise BadInput("--tls-cert and --tls-key go together: give both")
        if not all(self.nats):
            raise BadInput("--nats '': give a URL such as nats://nats.example:4222")
        return Access(
            servers=self.nats,
            creds=self.creds,
            tls_ca=self.tls_ca,
            tls_cert=self.tls_cert,
            tls_key=self.tls_key,
            monitor=self.nats_monitor,
        )

    @property
    def layout(self) -> Layout:
        """Raises BadInput."""
        if not CLUSTER.fullmatch(self.cluster):
            raise BadInput(f"--cluster {self.cluster!r}: use letters, digits and '-', at most 64")
        return Layout(self.cluster, size=Size())


@Parameter(name="*", group=STORE)
@dataclass(frozen=True)
class Store(Connection):
    """Where the log is, and how a new one is made."""

    store_size: Annotated[str, Parameter(env_var="ROMANA_STORE_SIZE", group=NEW_LOG)] = ""
    """Bytes of a new log with its tables, such as 20GB or 50%, of each copy. By default half of the storage,
    or 10 GB where that is not known."""
    history_days: Annotated[float, Parameter(group=NEW_LOG)] = 7.0
    """Days for which a new log keeps events."""
    replicas: Annotated[int, Parameter(group=NEW_LOG)] = 1
    """Copies of a new log: 1, or 3 on a cluster of NATS servers."""

    @property
    def layout(self) -> Layout:
        """Raises BadInput."""
        check_replicas(self.replicas)
        check_history("--history-days", self.history_days)
        return super().layout._replace(
            history=self.history_days * DAY,
            replicas=self.replicas,
            size=size_of("--store-size", self.store_size),
        )


@Parameter(name="*", group=KUBERNETES)
@dataclass(frozen=True)
class ApiServer:
    """An API server."""

    kubeconfig: Path | None = None
    """Kubeconfig file. Else $KUBECONFIG, ~/.kube/config, or the pod's service account."""
    context: str = ""
    """Context of the kubeconfig."""
    server: str = ""
    """URL of an API server that needs no credentials, such as that of `kubectl proxy`."""

    @property
    def target(self) -> Target:
        """Raises BadInput."""
        # Imported here: its imports would slow down all commands.
        from romana_bus.kubernetes.api import Target

        if self.server and (self.kubeconfig or self.context):
            raise BadInput(
                "--server uses no credentials: give either --server, or --kubeconfig and --context"
            )
        try:
            url = urlsplit(self.server)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        if self.server and not usable:
            raise BadInput(f"--server {self.server}: write a URL such as http://127.0.0.1:8001")
        return Target(server=self.server, kubeconfig=self.kubeconfig, context=self.context)


@Parameter(name="*", group=KUBERNETES)
@dataclass(frozen=True)
class Kubernetes(ApiServer):
    """The API server to watch."""

    resource: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Publish this resource too, for your own consumers: GROUP/VERSION/PLURAL[:FIELD,...]. Repeatable."""


@Parameter(name="*", group=ADDRESSES)
@dataclass(frozen=True)
class Addresses:
    """How addresses are assigned. The settings on the log count; options are written there if there are none
    yet (`ipam settings`)."""

    block_owner: Literal["host", "tenant", "segment"] | None = None
    """The owner of a block of addresses: a node (host, the default), one namespace on it, or one segment of
    that."""
    cooldown: float | None = None
    """Seconds for which a released address is not assigned again; 30 by default."""
    warm_blocks: int | None = None
    """Spare blocks that each node has; 1 by default."""
    network: str | None = None
    """The network for pods as long as no topology was set, IPv4 or IPv6; each zone gets an eighth of it.
    100.64.0.0/10 by default."""

    @property
    def given(self) -> dict[str, Any]:
        """The settings that were given, by name. Raises BadInput."""
        if self.cooldown is not None:
            check_seconds("--cooldown", self.cooldown)
        if self.warm_blocks is not None and not 0 <= self.warm_blocks <= MOST_WARM_BLOCKS:
            raise BadInput(f"--warm-blocks {self.warm_blocks}: must be between 0 and {MOST_WARM_BLOCKS}")
        if self.network is not None:
            _refuse_network(self.network)
        values = {
            "block_owner": self.block_owner,
            "cooldown": None if self.cooldown is None else int(self.cooldown * 1e6),
            "warm_blocks": self.warm_blocks,
            "default_network": self.network,
        }
        return {name: value for name, value in values.items() if value is not None}

    @property
    def settings(self) -> Settings:
        """Raises BadInput."""
        return Settings(**self.given)


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True)
class Output:
    """Output of commands that end by themselves."""

    json: Annotated[bool, Parameter(negative="")] = False
    """JSON for programs: one document on a line."""
    log_level: Level = "error"
    """The lowest level of messages on stderr: text on a terminal, else JSON."""


@Parameter(name="*", group=OUTPUT)
@dataclass(frozen=True)
class Serving(Output):
    """Output of commands that run until they are stopped."""

    log_level: Level = "info"
    """The lowest level of messages on stderr: text on a terminal, else JSON."""
    listen: Annotated[str, Parameter(env_var="ROMANA_LISTEN")] = ""
    """HOST:PORT to serve /healthz, /readyz and /metrics (Prometheus) at."""


def _refuse_network(network: str) -> None:
    """Raises BadInput."""
    example = Settings().default_network
    try:
        prefix = cidr_of(network)
    except ValueError as error:
        advice = "" if "write" in str(error) else f": write a CIDR such as {example}"
        raise BadInput(f"--network {network}: {error}{advice}") from None
    if prefix.length + SLOT_BITS > prefix.width:
        longest = prefix.width - SLOT_BITS
        raise BadInput(
            f"--network {network}: too small for {1 << SLOT_BITS} zones: give /{longest} or shorter"
        )
    if why := unusable(prefix):
        raise BadInput(f"--network {network}: {why}: choose another prefix, such as {example} or fd00:1::/64")
    if why := doubtful(prefix):
        print_error(f"warning: --network {network}: {why}")


def check_replicas(replicas: int) -> None:
    """Raises BadInput."""
    if replicas not in (1, 3, 5):
        raise BadInput(f"--replicas {replicas}: must be 1, 3 or 5")


def check_history(option: str, days: float) -> None:
    """Raises BadInput."""
    if not 1 / 1440 <= days <= 3650:
        raise BadInput(f"{option} {days}: must be between a minute and ten years")


def size_of(option: str, text: str) -> Size:
    """Raises BadInput."""
    try:
        return parse_size(text) if text else Size()
    except ValueError as error:
        raise BadInput(f"{option} {text}: {error}") from None


def check_seconds(option: str, seconds: float) -> None:
    """Raises BadInput unless it is a time from 0 to a day."""
    if not (math.isfinite(seconds) and 0 <= seconds <= 86_400):
        raise BadInput(f"{option} {seconds:g}: must be between 0 and 86400 seconds")


def host_node() -> str:
    """The name that a kubelet gives this machine's node by default: the host name in lower case."""
    return socket.gethostname().lower()


def holder() -> str:
    """The name of this process as a leader. Host name and pid are not unique: two containers with the host's
    network may both have pid 1."""
    return f"{socket.gethostname()}/{os.getpid()}-{tasks.nonce()}"
