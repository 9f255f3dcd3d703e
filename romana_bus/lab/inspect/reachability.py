"""Pings from a namespace to an address, and from every pod to every pod. Blocking."""

from __future__ import annotations

import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from romana_bus.errors import Failed
from romana_bus.lab.machine import netns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from romana_bus.lab.inspect.names import End

#: Pings that run at the same time.
_AT_ONCE = 16
_COUNTS = re.compile(r"(\d+) packets transmitted, (\d+) received")
_TIMES = re.compile(r"= [\d.]+/([\d.]+)/")
_ERROR = re.compile(r"^From (\S+) .*?(Destination .*|Time to live exceeded|Packet filtered)$", re.MULTILINE)


class Ping(NamedTuple):
    """The result of one ping. `time`: mean round trip in milliseconds. `error`: an ICMP error and the address
    of the router that sent it, or ping's own error; '' if there is none."""

    sent: int
    received: int
    time: float
    error: str

    def __str__(self) -> str:
        if self.received:
            return f"{self.received} of {self.sent} answered, {self.time:g} ms on average"
        return f"none of {self.sent} answered{f': {self.error}' if self.error else ''}"


def ping(source: str, address: str, count: int = 3) -> Ping:
    """Ping from the namespace `source`. Raises Failed if `ping` cannot be run."""
    command = ["ping", "-n", "-c", str(count), "-i", "0.2", "-W", "1", address]
    try:
        with netns.inside(source):
            process = subprocess.Popen(
                command, stdout=-1, stderr=-1, text=True, env={"LC_ALL": "C", "PATH": netns.search_path()}
            )
        with process:
            out, err = process.communicate()
    except OSError as error:
        raise Failed(f"`ping` cannot be run: {error.strerror}") from None
    return read(out, err, count)


def read(out: str, err: str, count: int) -> Ping:
    """Parses the output of iputils' ping."""
    counts, times, errors = _COUNTS.search(out), _TIMES.search(out), _ERROR.search(out)
    sent, received = (int(counts[1]), int(counts[2])) if counts else (count, 0)
    said = f"{errors[1]} says {errors[2]}" if errors else " ".join(err.split()).removeprefix("ping: ")
    return Ping(sent, received, float(times[1]) if times else 0.0, said)


class Pair(NamedTuple):
    """`ping`: the first failed ping over both address families; if none failed, the last one."""

    source: End
    target: End
    ping: Ping


def matrix(pods: Sequence[End]) -> list[Pair]:
    """Pings every pod from every pod, itself included, at each of its addresses."""
    pairs = [(source, target) for source in pods for target in pods]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda pair: _pair(*pair), pairs))


def _pair(source: End, target: End) -> Pair:
    answer = Ping(0, 0, 0.0, "it has no address")
    for address in target.addresses:
        answer = ping(source.netns, address, 1)
        if not answer.received:  # one packet may get lost during address resolution
            answer = ping(source.netns, address, 3)
        if not answer.received:
            break
    return Pair(source, target, answer)
