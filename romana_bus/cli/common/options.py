"""The options that commands share, and the settings made of them."""

from __future__ import annotations

import math
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import urlsplit

from cyclopts import Parameter

from romana_bus import tasks
from romana_bus.bus.connect import Access
from romana_bus.bus.stream_config import DAY, Layout
from romana_bus.cli.common.groups import ADDRESSES, KUBERNETES, OUTPUT, STORE
from romana_bus.errors import BadInput
from romana_bus.inet import parse_prefix
from romana_bus.ipam import Settings
from romana_bus.ipam.topology.default import SLOT_BITS
from romana_bus.ipam.topology.document import cidr_of

if TYPE_CHECKING:
    from romana_bus.kubernetes.api import Target

Level = Literal["debug", "info", "warning", "error"]

#: Prefixes that no pod can use: the kernel drops such packets, keeps them, or sends them to many hosts.
SPECIAL = {
    "0.0.0.0/8": "unspecified",
    "127.0.0.0/8": "loopback",
    "169.254.0.0/16": "link-local",
    "224.0.0.0/4": "multicast",
    "::/127": "loopback",
    "fe80::/10": "link-local",
    "ff00::/8": "multicast",
}

#: A cluster's name, which is part of names of streams and directories.
CLUSTER = re.compile(r"[A-Za-z0-9-]{1,64}")


@Parameter(name="*", group=STORE)
@dataclass(frozen=True)
class Store:
    """Where the log is. Without --nats: on a server on this machine, which the first command that needs it
    starts, and which ends with the last one."""

    nats: Annotated[tuple[str, ...], Parameter(env_var="ROMANA_NATS", negative="")] = ()
    """URL of a NATS server; repeat it for the servers of one NATS cluster."""
    creds: Annotated[Path | None, Parameter(env_var="ROMANA_NATS_CREDS")] = None
    """NATS credentials file (JWT and nkey)."""
    tls_ca: Path | None = None
    """Certificate authority of the NATS server, PEM."""
    tls_cert: Path | None = None
    """Our certificate for NATS, PEM."""
    tls_key: Path | None = None
    """The key of --tls-cert, PEM."""
    nats_monitor: Annotated[str, Parameter(env_var="ROMANA_NATS_MONITOR")] = ""
    """URL of the NATS server's monitoring port, to check that it syncs every write."""
    cluster: Annotated[str, Parameter(env_var="ROMANA_CLUSTER")] = "default"
    """Name of the Kubernetes cluster; each has a log of its own."""
    history_days: float = 7.0
    """Days for which a new log keeps events."""
    replicas: int = 1
    """Copies of a new log: 1, or 3 on a cluster of NATS servers."""

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
        if self.replicas not in (1, 3, 5):
            raise BadInput(f"--replicas {self.replicas}: must be 1, 3 or 5")
        if not 1 / 1440 <= self.history_days <= 3650:
            raise BadInput(f"--history-days {self.history_days}: must be between a minute and ten years")
        return Layout(self.cluster, self.history_days * DAY, self.replicas)


@Parameter(name="*", group=KUBERNETES)
@dataclass(frozen=True)
class Kubernetes:
    """The API server to watch."""

    kubeconfig: Path | None = None
    """Kubeconfig file. Else $KUBECONFIG, ~/.kube/config, or the pod's service account."""
    context: str = ""
    """Context of the kubeconfig."""
    server: str = ""
    """URL of an API server that needs no credentials, such as that of `kubectl proxy`."""
    resource: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Publish this resource too, for your own consumers: GROUP/VERSION/PLURAL[:FIELD,...]. Repeatable."""

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


@Parameter(name="*", group=ADDRESSES)
@dataclass(frozen=True)
class Addresses:
    """How addresses are assigned. All replicas need the same values."""

    block_owner: Literal["host", "tenant", "segment"] = "host"
    """The owner of a block of addresses: a node, one namespace on it, or one segment of that."""
    cooldown: float = 30.0
    """Seconds for which a released address is not assigned again."""
    warm_blocks: int = 1
    """Spare blocks that each node has."""
    network: str = "100.64.0.0/10"
    """The network for pods as long as no topology was set, IPv4 or IPv6; each zone gets an eighth of it."""

    @property
    def settings(self) -> Settings:
        """Raises BadInput."""
        check_seconds("--cooldown", self.cooldown)
        if not 0 <= self.warm_blocks <= 64:
            raise BadInput(f"--warm-blocks {self.warm_blocks}: must be between 0 and 64")
        self._refuse_network()
        return Settings(
            block_owner=self.block_owner,
            cooldown=int(self.cooldown * 1e6),
            warm_blocks=self.warm_blocks,
            default_network=self.network,
        )

    def _refuse_network(self) -> None:
        """Raises BadInput."""
        example = type(self).network
        try:
            prefix = cidr_of(self.network)
        except ValueError as error:
            advice = "" if "write" in str(error) else f": write a CIDR such as {example}"
            raise BadInput(f"--network {self.network}: {error}{advice}") from None
        if prefix.length + SLOT_BITS > prefix.width:
            longest = prefix.width - SLOT_BITS
            raise BadInput(
                f"--network {self.network}: too small for {1 << SLOT_BITS} zones: give /{longest} or shorter"
            )
        for special, what in SPECIAL.items():
            if prefix.overlaps(parse_prefix(special)):
                raise BadInput(
                    f"--network {self.network}: contains addresses of {special} ({what}), which no pod can "
                    f"have: choose another prefix, such as {example} or fd00:1::/64"
                )


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


def check_seconds(option: str, seconds: float) -> None:
    """Raises BadInput unless it is a time from 0 to a day."""
    if not (math.isfinite(seconds) and 0 <= seconds <= 86_400):
        raise BadInput(f"{option} {seconds:g}: must be between 0 and 86400 seconds")


def holder() -> str:
    """The name of this process as a leader. Host name and pid are not unique: two containers with the host's
    network may both have pid 1."""
    return f"{socket.gethostname()}/{os.getpid()}-{tasks.nonce()}"
