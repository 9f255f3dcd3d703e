"""The options that commands share, and what they come to."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from romana_bus.bus.connect import Access
from romana_bus.bus.streams import DAY, Layout
from romana_bus.errors import BadInput
from romana_bus.ipam import Settings

Level = Literal["debug", "info", "warning", "error"]


@Parameter(name="*", group="Store")
@dataclass(frozen=True)
class Store:
    """Where the log is. Without --nats, a server that this machine starts by itself and keeps for as
    long as somebody uses it."""

    nats: Annotated[tuple[str, ...], Parameter(env_var="ROMANA_NATS", negative="")] = ()
    """URL of a NATS server, or several times for those of one cluster."""
    creds: Annotated[Path | None, Parameter(env_var="ROMANA_NATS_CREDS")] = None
    """NATS credentials file (JWT and nkey)."""
    tls_ca: Path | None = None
    """Certificate authority of the NATS server, PEM."""
    tls_cert: Path | None = None
    """Our certificate for NATS, PEM."""
    tls_key: Path | None = None
    """The key of --tls-cert, PEM."""
    nats_monitor: Annotated[str, Parameter(env_var="ROMANA_NATS_MONITOR")] = ""
    """URL of the server's monitoring port: makes sure that it syncs every write."""
    cluster: Annotated[str, Parameter(env_var="ROMANA_CLUSTER")] = "default"
    """Name of the Kubernetes cluster; each has streams of its own."""
    history_days: float = 7.0
    """How long a new log keeps what happened."""
    replicas: int = 1
    """Copies of a new log: 1, or 3 on a cluster of NATS servers."""

    @property
    def access(self) -> Access:
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
        if not self.cluster or not all(c.isalnum() or c == "-" for c in self.cluster):
            raise BadInput(f"--cluster {self.cluster!r}: letters, digits and '-' only")
        if self.replicas not in (1, 3, 5):
            raise BadInput(f"--replicas {self.replicas}: 1, 3 or 5")
        if not 1 / 1440 <= self.history_days <= 3650:
            raise BadInput(f"--history-days {self.history_days}: between a minute and ten years")
        return Layout(self.cluster, self.history_days * DAY, self.replicas)


@Parameter(name="*", group="Kubernetes")
@dataclass(frozen=True)
class Kubernetes:
    """Which API server is watched."""

    kubeconfig: Path | None = None
    """Kubeconfig file. Else $KUBECONFIG, ~/.kube/config, or the pod's service account."""
    context: str = ""
    """Context of the kubeconfig."""
    server: str = ""
    """URL of an API server that wants no credentials, such as `kubectl proxy`."""
    resource: Annotated[tuple[str, ...], Parameter(negative="")] = ()
    """Also stream this resource for third parties: GROUP/VERSION/PLURAL, with chosen fields as
    GROUP/VERSION/PLURAL:spec.a,status.b. The core group is called core. Repeatable."""


@Parameter(name="*", group="Addresses")
@dataclass(frozen=True)
class Addresses:
    """How addresses are given out. The same on all replicas."""

    block_owner: Literal["host", "tenant", "segment"] = "host"
    """Whom a block belongs to: a host, or a host and tenant, or also a segment."""
    cooldown: float = 30.0
    """Seconds before an address is used again."""
    warm_blocks: int = 1
    """Blocks that each host holds ahead of need."""
    network: str = "100.64.0.0/10"
    """The network that is used where no topology was set: each zone gets an eighth of it."""

    @property
    def settings(self) -> Settings:
        """Raises BadInput."""
        return Settings(
            block_owner=self.block_owner,
            cooldown=int(self.cooldown * 1e6),
            warm_blocks=self.warm_blocks,
            default_network=self.network,
        )


@Parameter(name="*", group="Output")
@dataclass(frozen=True)
class Output:
    json: Annotated[bool, Parameter(negative="")] = False
    """JSON for programs."""
    log_level: Level = "info"
    """Least important log line to show, on stderr."""


@Parameter(name="*", group="Output")
@dataclass(frozen=True)
class Serving:
    """For what runs until it is stopped."""

    json: Annotated[bool, Parameter(negative="")] = False
    """JSON for programs."""
    log_level: Level = "info"
    """Least important log line to show, on stderr."""
    listen: Annotated[str, Parameter(env_var="ROMANA_LISTEN")] = ""
    """HOST:PORT for /healthz, /readyz and /metrics."""


def holder() -> str:
    """How this process is called as a leader."""
    return f"{socket.gethostname()}/{os.getpid()}"
