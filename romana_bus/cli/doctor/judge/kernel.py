"""Judges a node's kernel: what it can do, and what it is set to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cli.doctor.finding import ok, unseen, warning, wrong
from romana_bus.routing.obstacles import obstacles

if TYPE_CHECKING:
    from romana_bus.cli.doctor.facts import ForeignRoutes, Kernel, Mtu, Obstacles, Sysctls
    from romana_bus.cli.doctor.finding import Finding
    from romana_bus.inet import Prefix

#: rtm_protocol (rtnetlink.h, iproute2's rt_protos), as people know them.
PROTOCOLS = {
    2: "the kernel", 3: "boot", 4: "static", 9: "router advertisements", 11: "zebra", 12: "bird", 16: "dhcp",
    42: "babel", 80: "calico", 186: "bgp", 187: "is-is", 188: "ospf",
}  # fmt: skip

#: What the agent does about a sysctl.
_SETS = (
    "the agent sets it within a minute (not with --sysctl tell): if it changes back, find what else sets it, "
    "such as a file in /etc/sysctl.d"
)


def nexthops(kernel: Kernel) -> Finding:
    if kernel.nexthop_objects:
        return ok(f"Linux {kernel.release} has nexthop objects")
    return warning(
        f"Linux {kernel.release} has no nexthop objects",
        "routes to other nodes carry their own gateways: a node that changes its address takes a change of "
        "each of its routes, and many routes take longer",
        "use Linux 5.3 or newer; everything works without",
    )


def ipv6(kernel: Kernel) -> Finding:
    if kernel.ipv6 and not kernel.ipv6_disabled:
        return ok("the kernel has IPv6")
    found = "IPv6 is disabled (net.ipv6.conf.all.disable_ipv6 is 1)" if kernel.ipv6 else "no IPv6"
    return warning(
        f"the kernel has {found}" if not kernel.ipv6 else found,
        "pods of networks with IPv6 get no IPv6 here; IPv4 is not concerned",
        "if a network has IPv6: sysctl -w net.ipv6.conf.all.disable_ipv6=0"
        if kernel.ipv6
        else "if a network has IPv6: boot without ipv6.disable=1",
    )


def nftables(kernel: Kernel) -> Finding:
    if kernel.nftables is None:
        return unseen("whether the kernel has nftables is only told to root")
    if kernel.nftables:
        return ok("the kernel has nftables")
    return warning(
        "the kernel has no nftables",
        "hostPort (portmap) needs the old iptables modules then, and network policies will need nftables",
        "load nf_tables, or use a kernel with CONFIG_NF_TABLES",
    )


def forwarding(sysctls: Sysctls) -> Finding:
    """The sysctls without which pods have no network."""
    vital = [sysctl for sysctl in sysctls.wrong if sysctl.vital]
    if sysctls.read_only:
        return wrong(
            sysctls.read_only[0],
            "no pod can be attached to the network here",
            "give the agent a writable /proc/sys, as deploy/base/agent.yaml does",
            [*sysctls.read_only[1:], *(f"{each.name} is {each.value}" for each in vital)],
        )
    if not vital:
        return ok("the kernel forwards packets of pods")
    commands = " ".join(f"{each.name}={each.right}" for each in vital)
    return wrong(
        ", ".join(f"{each.name} is {each.value}" for each in vital),
        "; ".join(each.meaning for each in vital),
        f"sysctl -w {commands}; {_SETS}",
    )


def rp_filter(sysctls: Sysctls) -> Finding:
    """The sysctls that matter to security only."""
    others = [sysctl for sysctl in sysctls.wrong if not sysctl.vital]
    if not others:
        return ok("pods cannot send with the addresses of others")
    return wrong(
        ", ".join(f"{each.name} is {each.value}" for each in others),
        "; ".join(each.meaning for each in others),
        _SETS,
    )


def mtu(mtu: Mtu) -> Finding:
    if not mtu.uplink:
        return unseen("there is no default route, so no link to compare with")
    larger = {link: size for link, size in sorted(mtu.pods.items()) if size > mtu.mtu}
    if not larger:
        return ok(f"no pod's link has more than the {mtu.mtu} bytes of {mtu.uplink}")
    return wrong(
        f"links of pods have a larger MTU than {mtu.uplink}, which has {mtu.mtu}",
        "large packets of these pods are dropped or fragmented on their way: connections open, and then hang",
        f"start the agent, or install-cni, with --mtu {mtu.mtu}, and recreate these pods",
        (f"{link}: {size}" for link, size in larger.items()),
    )


def in_the_way(facts: Obstacles) -> Finding:
    """Firewalls, ip rules and missing default routes."""
    found = obstacles(facts.foreign, facts.pods, facts.by_default)
    if not found:
        return ok("no firewall drops packets of pods, and no ip rule comes before our routes")
    first = min(found, key=lambda each: each.is_note)
    others = [str(each) for each in found if each is not first]
    judge = warning if first.is_note else wrong
    return judge(first.found, first.meaning, first.remedy, others)


def foreign_routes(facts: ForeignRoutes) -> Finding:
    """Routes of others inside pods' networks. Those inside this node's own groups take addresses from pods
    that are reached on-link; elsewhere they may be how other zones are reached."""
    if not facts.networks:
        return unseen("the networks of pods are not known here")
    in_the_way = [route for route in facts.routes if _takes(route[0], facts)]
    if in_the_way:
        return wrong(
            f"{len(in_the_way)} routes that are not ours lead to addresses of pods"
            if len(in_the_way) > 1
            else "a route that is not ours leads to addresses of pods",
            "packets to these addresses take that route: romana-bus changes no route of others",
            "find who sets it, and remove it: ip route del PREFIX",
            (_text(route) for route in in_the_way),
        )
    if facts.routes:
        return ok(f"routes of others lead to other zones only: {', '.join(map(_text, facts.routes[:3]))}")
    return ok(f"no route of others inside {', '.join(map(str, facts.networks))}")


def _takes(prefix: Prefix, facts: ForeignRoutes) -> bool:
    """Whether a route takes addresses away. Where the node's own groups are not known, each does."""
    if facts.own:
        return any(group.contains(prefix) for group in facts.own)
    return any(network.contains(prefix) for network in facts.networks)


def _text(route: tuple[Prefix, int, str]) -> str:
    prefix, protocol, way = route
    return f"{prefix} {way}, of {PROTOCOLS.get(protocol, f'protocol {protocol}')}"
