"""The table of all checks, in the order in which they are shown. A new one is a row, and a function that
judges; new facts also take a gatherer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.cli.doctor import facts
from romana_bus.cli.doctor.finding import CLUSTER, NODE, Check
from romana_bus.cli.doctor.gather import agent, api, kernel, links, log, plugin, routes
from romana_bus.cli.doctor.judge import cluster as of_cluster
from romana_bus.cli.doctor.judge import kernel as of_kernel
from romana_bus.cli.doctor.judge import log as of_log
from romana_bus.cli.doctor.judge import node as of_node

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from romana_bus.cli.doctor.gather.context import Context

CHECKS: tuple[Check[Any], ...] = (
    Check("agent", NODE, facts.Agent, of_node.agent),
    Check("runtime", NODE, facts.Plugin, of_node.runtime),
    Check("plugin", NODE, facts.Plugin, of_node.plugin),
    Check("nexthop objects", NODE, facts.Kernel, of_kernel.nexthops),
    Check("IPv6", NODE, facts.Kernel, of_kernel.ipv6),
    Check("nftables", NODE, facts.Kernel, of_kernel.nftables),
    Check("forwarding", NODE, facts.Sysctls, of_kernel.forwarding),
    Check("rp_filter", NODE, facts.Sysctls, of_kernel.rp_filter),
    Check("MTU", NODE, facts.Mtu, of_kernel.mtu),
    Check("firewalls and rules", NODE, facts.Obstacles, of_kernel.in_the_way),
    Check("foreign routes", NODE, facts.ForeignRoutes, of_kernel.foreign_routes),
    Check("routes", NODE, facts.RouteDelta, of_node.routes),
    Check("links of pods", NODE, facts.PodLinks, of_node.pod_links),
    Check("NATS", CLUSTER, facts.Nats, of_log.nats),
    Check("streams", CLUSTER, facts.Streams, of_log.streams),
    Check("settings of NATS", CLUSTER, facts.NatsSettings, of_log.settings),
    Check("clocks", CLUSTER, facts.Clocks, of_log.clocks),
    Check("writers", CLUSTER, facts.Writers, of_log.writers),
    Check("API server", CLUSTER, facts.ApiServer, of_cluster.api_server),
    Check("RBAC", CLUSTER, facts.ApiServer, of_cluster.rbac),
    Check("nodes", CLUSTER, facts.Nodes, of_cluster.nodes),
    Check("overlap", CLUSTER, facts.Networks, of_cluster.overlap),
    Check("addresses", CLUSTER, facts.Addresses, of_cluster.addresses),
)

#: Facts -> what gathers them.
GATHERERS: dict[type[Any], Callable[[Context], Awaitable[Any]]] = {
    facts.Agent: agent.agent,
    facts.Plugin: plugin.plugin,
    facts.Kernel: kernel.kernel,
    facts.Sysctls: kernel.node_sysctls,
    facts.Mtu: kernel.mtu,
    facts.Obstacles: routes.obstacles,
    facts.ForeignRoutes: routes.foreign,
    facts.RouteDelta: routes.delta,
    facts.PodLinks: links.pod_links,
    facts.Nats: log.nats,
    facts.Streams: log.streams,
    facts.NatsSettings: log.settings,
    facts.Clocks: log.clocks,
    facts.Writers: log.writers,
    facts.ApiServer: api.api_server,
    facts.Nodes: log.nodes,
    facts.Networks: log.networks,
    facts.Addresses: api.addresses,
}
