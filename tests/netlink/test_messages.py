"""Batches and dumps, without anything of routes: loopback addresses are what they are tried on."""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

import pytest

from romana_bus.netlink.constants import CREATE, EXCL, NLMSG_DONE
from romana_bus.netlink.messages import attribute, message, messages
from romana_bus.netlink.socket import NetlinkError, Socket, _ends
from tests import kernel
from tests.netns import Namespace, namespace, needs_namespaces

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = needs_namespaces

RTM_NEWADDR, RTM_GETADDR = 20, 22
RTM_NEWLINK, RTM_GETLINK = 16, 18
RTNLGRP_IPV4_IFADDR = 5


@pytest.fixture
def here() -> Iterator[Namespace]:
    with namespace("wire") as made:
        yield made


@pytest.fixture
def socket(here: Namespace) -> Iterator[Socket]:
    with here.inside(Socket) as opened:
        yield opened


def address(last: int, index: int = 1) -> bytes:
    """Put 10.0.0.`last`/32 on an interface; 1 is the loopback."""
    body = struct.pack("=BBBBI", 2, 32, 0, 0, index)
    packed = attribute(2, bytes([10, 0, 0, last]))  # IFA_LOCAL
    return message(RTM_NEWADDR, CREATE | EXCL, body + packed)


def loopback(here: Namespace) -> set[str]:
    """The addresses of ours on the loopback."""
    return {one.address for one in kernel.addresses(here.name, "lo") if one.address.startswith("10.")}


def addresses(socket: Socket) -> int:
    body = struct.pack("=BBBBI", 2, 0, 0, 0, 0)
    parts = socket.dump(message(RTM_GETADDR, 0, body))
    return sum(kind == RTM_NEWADDR for part in parts for kind, *_ in messages(part))


def test_batch_is_applied_and_failed_requests_are_returned(here: Namespace, socket: Socket) -> None:
    before = addresses(socket)
    failures = socket.batch(
        [address(1), address(2), address(1), address(3), address(9, index=77), address(4)]
    )
    assert [(one.at, one.errno) for one in failures] == [(2, errno.EEXIST), (4, errno.ENODEV)]
    assert loopback(here) == {"10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"}
    assert addresses(socket) == before + 4


def test_the_last_of_a_batch_may_fail_too_and_the_next_batch_is_not_confused(
    here: Namespace, socket: Socket
) -> None:
    assert [one.at for one in socket.batch([address(1), address(1)])] == [1]
    assert socket.batch([address(2)]) == []
    assert socket.batch([]) == []
    assert loopback(here) == {"10.0.0.1", "10.0.0.2"}


@pytest.mark.parametrize("left", [0, 1, 2, 3])
def test_behind_the_last_sequence_number_comes_the_first(here: Namespace, socket: Socket, left: int) -> None:
    """A number has 32 bits: an agent that makes 2,000 requests a second has used them up in 25 days."""
    socket.reserve((1 << 32) - 1 - left)
    assert [one.at for one in socket.batch([address(1), address(1), address(2)])] == [1]
    assert [one.at for one in socket.batch([address(2), address(3)])] == [0]
    assert loopback(here) == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}


def test_single_refused_request_raises_the_kernel_error(socket: Socket) -> None:
    socket.do(address(1))
    with pytest.raises(NetlinkError, match=r"Address already assigned|File exists"):
        socket.do(address(1))


def test_requests_that_bear_their_numbers_are_delivered_as_they_are(here: Namespace, socket: Socket) -> None:
    first = socket.reserve(2)
    numbered = [
        one[:8] + struct.pack("=I", at) + one[12:] for at, one in enumerate([address(1), address(1)], first)
    ]
    assert [one.at for one in socket.deliver(first, numbered)] == [1]
    assert loopback(here) == {"10.0.0.1"}


def test_a_dump_of_what_did_not_change_is_the_same_bytes(socket: Socket) -> None:
    socket.batch([address(last) for last in range(1, 200)])
    request = message(RTM_GETADDR, 0, struct.pack("=BBBBI", 2, 0, 0, 0, 0))
    first = socket.dump(request)
    assert len(first) > 1
    assert socket.dump(request) == first


def test_rest_of_a_failed_dump_is_not_the_answer_to_the_next(here: Namespace, socket: Socket) -> None:
    with here.inside(lambda: Socket(buffer=4096)) as overrun:
        overrun.join(RTNLGRP_IPV4_IFADDR)
        for _ in range(3):
            socket.batch([address(last) for last in range(1, 250)])
            here.ip("address", "flush", "dev", "lo")
        socket.batch([address(last) for last in range(1, 250)])
        with pytest.raises(OSError, match="No buffer space"):
            addresses(overrun)
        links = overrun.dump(message(RTM_GETLINK, 0, bytes(16)))
        kinds = {kind for part in links for kind, *_ in messages(part)}
        assert kinds == {RTM_NEWLINK, NLMSG_DONE}
        assert addresses(overrun) == len(loopback(here)) == 249


@pytest.mark.parametrize("flags", [0x202, 0x212])
def test_done_message_with_text_after_a_full_part_ends_the_dump(flags: int) -> None:
    row = message(RTM_NEWADDR, 2, bytes(8) + attribute(2, bytes(4)))
    full = row * (32_000 // len(row))
    text = attribute(1, b"the kernel has a word to say\0")
    done = struct.pack("=IHHIIi", 20 + len(text), NLMSG_DONE, flags, 0, 0, 0) + text
    assert not _ends(full)
    assert _ends(full + done)
    assert _ends(full + struct.pack("=IHHIIi", 20, NLMSG_DONE, 2, 0, 0, 0))
