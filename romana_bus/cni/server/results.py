"""From an attachment to CNI's words, and back from a prevResult to what has to be there. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cni import spec
from romana_bus.cni.link.veth import GATEWAY, Veth, veth
from romana_bus.cni.spec import CniError
from romana_bus.inet import V4, V6, format_address, parse_prefix

if TYPE_CHECKING:
    from romana_bus.cni.server.attachments import Attachment
    from romana_bus.cni.spec import Call

#: Routes of a pod that are looked for: (width, base, length).
Routes = frozenset[tuple[int, int, int]]

_EVERYWHERE = {V4: "0.0.0.0/0", V6: "::/0"}


def veth_of(one: Attachment) -> Veth:
    return veth(one.attached.container, one.attached.ifname, one.addresses, one.mtu)


def routes(wanted: Veth) -> Routes:
    """The default route of each family, and the one to its gateway where that is no link-local of IPv6."""
    widths = {width for width, _ in wanted.addresses}
    gateways = {(width, GATEWAY[width], width) for width in widths if width == V4}
    return frozenset({(width, 0, 0) for width in widths} | gateways)


def added(call: Call, one: Attachment) -> bytes:
    """What ADD answers: always the same for the same attachment."""
    wanted = veth_of(one)
    gateways = {width: format_address(width, GATEWAY[width]) for width, _ in wanted.addresses}
    made = spec.Result(
        interfaces=(
            spec.Interface(name=wanted.host, mac=wanted.host_mac, mtu=one.mtu),
            spec.Interface(name=wanted.ifname, mac=wanted.mac, mtu=one.mtu, sandbox=call.netns),
        ),
        ips=tuple(
            spec.Address(
                address=f"{format_address(width, value)}/{width}", gateway=gateways[width], interface=1
            )
            for width, value in wanted.addresses
        ),
        routes=tuple(spec.Route(dst=_EVERYWHERE[width], gw=gateways[width]) for width in gateways),
        dns=call.config.dns or {},
    )
    return spec.result(call.config.cni_version, made)


def expected(call: Call) -> tuple[Veth, Routes]:
    """What CHECK has to find: what the result lists of this interface. A route that a later plugin took out
    of the result is not missed. Raises CniError."""
    made = spec.previous(call.config)
    at = [
        index
        for index, one in enumerate(made.interfaces)
        if one.name == call.ifname and one.sandbox == call.netns
    ]
    ours = [one.address for one in made.ips if one.interface is None or one.interface in at]
    if not ours:
        raise CniError(spec.CONFIG, f"prevResult lists no address of {call.ifname} in {call.netns}")
    try:
        wanted = veth(call.container, call.ifname, [text.partition("/")[0] for text in ours])
        listed = {tuple(parse_prefix(route.dst)) for route in made.routes}
    except ValueError as error:
        raise CniError(spec.CONFIG, "prevResult cannot be used", str(error)) from None
    # A later plugin, such as tuning, may have given it another hardware address, and says so.
    macs = [made.interfaces[index].mac.lower() for index in at if made.interfaces[index].mac]
    wanted = wanted._replace(mac=macs[0]) if macs else wanted
    return wanted, frozenset(one for one in routes(wanted) if one[2] or one in listed)
