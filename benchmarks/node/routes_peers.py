"""The peers of the routes benchmark: a bare loop on a netlink socket, `ip -batch`, BIRD, and dumps alone."""

from __future__ import annotations

import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.node.routes_cluster import BLOCKS, check_routes, cidr, gateway
from romana_bus.netlink import nexthops
from romana_bus.netlink import routes as packed
from romana_bus.netlink.fib_apply import BATCH
from romana_bus.netlink.messages import messages
from romana_bus.netlink.socket import Socket

if TYPE_CHECKING:
    from romana_bus.routing import Delta
    from tests.netns import Namespace


def bare_loop(here: Namespace, delta: Delta) -> float:
    batches = [
        nexthops.create(1, delta.created[at : at + BATCH]) for at in range(0, len(delta.created), BATCH)
    ]
    batches += [packed.by_nexthop(1, delta.added[at : at + BATCH]) for at in range(0, BLOCKS, BATCH)]
    made = []
    for batch in batches:
        data = bytearray(b"".join(batch))
        last = len(data) - len(batch[-1]) + 6
        struct.pack_into("=H", data, last, struct.unpack_from("=H", data, last)[0] | 4)  # NLM_F_ACK
        made.append(data)
    with here.inside(Socket) as opened:
        socket = opened._socket
        began = time.perf_counter()
        for data in made:
            socket.send(data)
            socket.recv(1 << 16)
        seconds = time.perf_counter() - began
    check_routes(here)
    return seconds


def ip_batch(here: Namespace, hosts: int) -> float:
    lines = [f"route add {cidr(number)} via {gateway(number % hosts)} dev eth0" for number in range(BLOCKS)]
    with tempfile.NamedTemporaryFile("w", suffix=".batch") as batch:
        batch.write("\n".join(lines) + "\n")
        batch.flush()
        began = time.perf_counter()
        here.ip("-batch", batch.name)
        seconds = time.perf_counter() - began
    check_routes(here)
    return seconds


def bird_protocol(here: Namespace, hosts: int) -> tuple[float, float]:
    """From the first route to the last, as the kernel tells of them, and from its start to the last."""
    static = "".join(f"  route {cidr(at)} via {gateway(at % hosts)};\n" for at in range(BLOCKS))
    text = (
        "router id 10.99.0.1;\nprotocol device { scan time 3600; }\n"
        "protocol kernel { scan time 3600; ipv4 { import none; export all; }; }\n"
        f"protocol static {{ ipv4;\n{static}}}\n"
    )
    with tempfile.TemporaryDirectory(prefix="romana-bench-") as scratch:
        config = Path(scratch, "bird.conf")
        config.write_text(text)
        listener = here.inside(lambda: Socket(buffer=1 << 26, within=60.0))
        listener.join(7)  # RTNLGRP_IPV4_ROUTE
        files = ("-c", str(config), "-s", f"{scratch}/bird.ctl", "-P", f"{scratch}/bird.pid")
        command = ["ip", "netns", "exec", here.name, "bird", "-f", *files]
        began = time.perf_counter()
        bird = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with listener:
                seconds = _until_all_are_there(listener)
            started = time.perf_counter() - began
            check_routes(here)
        finally:
            bird.kill()
            bird.wait()
    return seconds, started


def _until_all_are_there(listener: Socket) -> float:
    count, began = 0, 0.0
    while count < BLOCKS:
        heard = listener._socket.recv(1 << 16)
        began = began or time.perf_counter()
        count += sum(kind == 24 for kind, *_ in messages(heard))  # RTM_NEWROUTE
    return time.perf_counter() - began


def dump(opened: Socket, *requests: bytes) -> float:
    """Read to the end, and nothing else."""
    socket, began = opened._socket, time.perf_counter()
    for request in requests:
        data = bytearray(request)
        struct.pack_into("=H", data, 6, 0x301)  # NLM_F_REQUEST | NLM_F_DUMP
        socket.send(data)
        last = 0
        while last != 3:  # NLMSG_DONE, which comes alone or last
            part = socket.recv(1 << 16)
            last = struct.unpack_from("=H", part, max(0, len(part) - 20) + 4)[0]
    return time.perf_counter() - began
