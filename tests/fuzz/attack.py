"""So much hostile input, drawn from a seed, into everything that a cluster of ours listens to."""

from __future__ import annotations

import contextlib
import random
import socket
import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.cni.calling import until
from tests.fuzz import hostile_answers, hostile_frames
from tests.fuzz.hostile_messages import Messages, flood
from tests.fuzz.plain_client import PlainClient
from tests.fuzz.site import CLUSTER, RESOURCES

if TYPE_CHECKING:
    from tests.fuzz.site import Site

#: Inputs of each kind in one round.
MESSAGES, FLOOD, LINES, ANSWERS, FRAMES = 2000, 300, 60, 12, 200


def attack(site: Site, seed: int) -> Counter[str]:
    """One round; gives how many inputs of each kind."""
    chance = random.Random(seed)
    sent: Counter[str] = Counter()
    for kind in (lines, answers, messages, frames):
        sent[kind.__name__] += kind(site, chance)
    return sent


def messages(site: Site, chance: random.Random) -> int:
    drawn = Messages(chance, site.log())
    with PlainClient(site.nats.port, f"romana.{CLUSTER}.") as client:
        for _ in range(MESSAGES):
            client.send(drawn.next())
        for sent in flood(chance, FLOOD):
            client.send(sent)
        client.flush()
    return MESSAGES + FLOOD


def lines(site: Site, chance: random.Random) -> int:
    """Into the watches that are open; most of them end one."""
    server = site.api.server
    plurals = [one.plural for one in RESOURCES]

    def send(lines: list[bytes]) -> int:
        """To one watch each."""
        open_ones = [plural for plural in plurals if server.watches(plural)]
        for line, plural in zip(lines, open_ones, strict=False):
            server.send_line(line + b"\n", plural)
        return min(len(lines), len(open_ones))

    left = [hostile_answers.line(chance) for _ in range(LINES)]
    while left:
        chance.shuffle(plurals)
        before = len(left)
        sent = site.api.do(lambda: send(left))
        del left[:sent]
        time.sleep(0.02 if len(left) < before else 0.1)
    return LINES


def answers(site: Site, chance: random.Random) -> int:
    """To the next lists and watches, which are asked for soon."""
    server = site.api.server
    faults = [
        hostile_answers.fault(chance, RESOURCES[number % len(RESOURCES)].plural) for number in range(ANSWERS)
    ]

    def asked() -> bool:
        """Whether all of them were; who watches a resource that has some left has to ask again. A list is
        made more and more seldom, where the last ones were of no use."""
        for plural, fault in {fault.plural: fault for fault in reversed(server.faults)}.items():
            if fault.raw or fault.cut_at is not None:
                server.close_watches(plural)
            else:
                server.send_line(hostile_answers.EXPIRED + b"\n", plural)
        return not server.faults

    def left() -> str:
        return f"{server.faults}\n{site.words()}"

    site.api.do(lambda: server.faults.extend(faults))
    until(lambda: site.api.do(asked), "all answers are asked for", left, 120)
    return ANSWERS


def frames(site: Site, chance: random.Random) -> int:
    if site.node is None:
        return 0
    path = str(site.node.run_dir / "cni.sock")
    for _ in range(FRAMES):
        with socket.socket(socket.AF_UNIX) as caller, contextlib.suppress(ConnectionError):
            caller.connect(path)
            caller.sendall(hostile_frames.frame_of(chance))
            caller.shutdown(socket.SHUT_WR)
            if chance.random() < 0.5:
                caller.settimeout(15)
                caller.recv(1 << 16)
    return FRAMES
