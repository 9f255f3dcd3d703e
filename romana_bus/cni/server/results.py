"""CNI results: the answer of ADD, and what CHECK expects from a prevResult. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from romana_bus.cni import spec
from romana_bus.cni.link.veth import GATEWAY, Veth, veth
from romana_bus.cni.spec import CniError
from romana_bus.inet import V4, V6, format_address, parse_prefix

if TYPE_CHECKING:
    from romana_bus.cni.server.attachments import Attachment
    from romana_bus.cni.spec import Call

#: Routes of a pod: (width, base, length).
Routes = frozenset[tuple[int, int, int]]

_EVERYWHERE = {V4: "0.0.0.0/0", V6: "::/0"}


def veth_of(attachment: Attachment) -> Veth:
    """The veth pair of an attachment."""
    attached = attachment.attached
    return veth(attached.container, attached.ifname, attachment.addresses, attachment.mtu)


def routes(wanted: Veth) -> Routes:
    """The default route of each family, and the route to the IPv4 gateway (that of IPv6 is link-local)."""
    widths = {width for width, _ in wanted.addresses}
    gateways = {(width, GATEWAY[width], width) for width in widths if width == V4}
    return frozenset({(width, 0, 0) for width in widths} | gateways)


def added(call: Call, attachment: Attachment) -> bytes:
    """The answer of ADD, always the same for the same attachment."""
    wanted = veth_of(attachment)
    gateways = {width: format_address(width, GATEWAY[width]) for width, _ in wanted.addresses}
    made = spec.Result(
        interfaces=(
            spec.Interface(name=wanted.host, mac=wanted.host_mac, mtu=attachment.mtu),
            spec.Interface(name=wanted.ifname, mac=wanted.mac, mtu=attachment.mtu, sandbox=call.netns),
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
    """What CHECK has to find: what the prevResult lists for this interface. A route that a later plugin
    removed from the result is not expected. Raises CniError."""
    made = spec.previous(call.config)
    indexes = [
        index
        for index, interface in enumerate(made.interfaces)
        if interface.name == call.ifname and interface.sandbox == call.netns
    ]
    ours = [ip.address for ip in made.ips if ip.interface is None or ip.interface in indexes]
    if not ours:
        raise CniError(spec.CONFIG, f"prevResult lists no address of {call.ifname} in {call.netns}")
    try:
        wanted = veth(call.container, call.ifname, [text.partition("/")[0] for text in ours])
        listed = {tuple(parse_prefix(route.dst)) for route in made.routes}
    except ValueError as error:
        raise CniError(spec.CONFIG, "prevResult cannot be used", str(error)) from None
    # A later plugin, such as tuning, may have changed the hardware address; then the result contains it.
    macs = [made.interfaces[index].mac.lower() for index in indexes if made.interfaces[index].mac]
    wanted = wanted._replace(mac=macs[0]) if macs else wanted
    return wanted, frozenset(route for route in routes(wanted) if route[2] or route in listed)
