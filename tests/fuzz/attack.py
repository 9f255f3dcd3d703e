"""So much hostile input, drawn from a seed, into everything that a cluster of ours listens to."""

from __future__ import annotations

import contextlib
import random
import socket
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
MESSAGES, FLOOD, LINES, ANSWERS, FRAMES = 2000, 1200, 200, 18, 200


def attack(site: Site, seed: int) -> Counter[str]:
    """One round; gives how many inputs of each kind."""
    chance = random.Random(seed)
    sent: Counter[str] = Counter()
    sent["messages"] += messages(site, chance)
    sent["lines"] += lines(site, chance)
    sent["frames"] += frames(site, chance)
    sent["answers"] += answers(site, chance)
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
    """Into the watches that are open; most of them end a watch."""
    for _ in range(LINES):
        line, plural = hostile_answers.line(chance), chance.choice(RESOURCES).plural
        site.api.do(lambda line=line, plural=plural: site.api.server.send_line(line + b"\n", plural))
    return LINES


def answers(site: Site, chance: random.Random) -> int:
    """To the next lists and watches, which are asked for at once."""
    server = site.api.server
    plurals = [chance.choice(RESOURCES).plural for _ in range(ANSWERS)]
    faults = [hostile_answers.fault(chance, plural) for plural in plurals]

    def begin() -> None:
        server.faults.extend(faults)
        for plural in {*plurals}:
            server.send_line(hostile_answers.EXPIRED + b"\n", plural)

    site.api.do(begin)
    until(
        lambda: not server.faults,
        "all answers are asked for",
        lambda: f"{server.faults}\n{site.words()}",
        120,
    )
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
