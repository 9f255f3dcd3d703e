"""Routes into the kernel: 10,000 blocks on 5,000 hosts, each host a next hop of its own, in namespaces.

Ours has folded the events, and has asked what is on-link: planned and applied. The peers, turn by turn in
the same run: the very same bytes from a loop that does nothing else; `ip -batch` (iproute2) and BIRD 2's
kernel protocol, given the same routes by gateway; for a look that finds nothing to do, the dumps alone. What
comes over the log is in `routes_log.py`. Speeds are medians, with the slowest and the fastest.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shutil
import statistics
import time
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.node import routes_log
from benchmarks.node.routes_cluster import BLOCKS, HOSTS, check_routes, events, node
from benchmarks.node.routes_peers import bare_loop, bird_protocol, dump, ip_batch
from benchmarks.report import Report, times
from romana_bus.consumers import routes
from romana_bus.events import HostPlaced
from romana_bus.inet import V4, V6
from romana_bus.netlink import nexthops
from romana_bus.netlink import routes as packed
from romana_bus.netlink.fib import Forwarding
from romana_bus.netlink.monitor import Monitor
from romana_bus.netlink.socket import Socket
from romana_bus.routing import Kernel, State, derive, evolve, plan
from tests.netns import Namespace, why_not

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from romana_bus.routing import Delta

ROUNDS, SPREAD_OUT, LOOKS = 7, 3, 21


# --- into an empty table -----------------------------------------------------------------------------------


class Bulk(NamedTuple):
    """Seconds."""

    questions: float
    ours: float
    bare: float
    ip: float
    bird: float
    bird_started: float


def bulk(hosts: int = HOSTS) -> Bulk:
    with node() as here:
        questions, ours, delta = _ours(here, hosts)
    with node() as here:
        bare = bare_loop(here, delta)
    with node() as here:
        by_ip = ip_batch(here, hosts)
    with node() as here:
        bird, started = bird_protocol(here, hosts)
    return Bulk(questions, ours, bare, by_ip, bird, started)


def _ours(here: Namespace, hosts: int) -> tuple[float, float, Delta]:
    state, kernel = State("me"), Kernel()
    for event in events(hosts):
        evolve(state, event, 1)
    with here.inside(Forwarding) as forwarding, here.inside(lambda: Monitor(forwarding.port)):
        list(forwarding.read(kernel))
        gc.collect()
        began = time.perf_counter()
        for answers in forwarding.ask(state.addresses(state.hosts)):
            kernel.answer(answers)
        asked = time.perf_counter()
        derive(state, kernel)
        delta = plan(state, kernel)
        list(forwarding.apply(delta, kernel))
        done = time.perf_counter()
    assert len(delta.added) == BLOCKS
    return asked - began, done - asked, delta


# --- afterwards --------------------------------------------------------------------------------------------


class Afterwards(NamedTuple):
    """Seconds."""

    look: list[float]
    dumps: list[float]
    routes_only: list[float]
    change: list[float]
    restart: float


async def afterwards() -> Afterwards:
    look, dumps, routes_only, change = [], [], [], []
    with node() as here:
        async with _opened(here) as kernel:
            reconciler = kernel.reconciler()
            state = reconciler.initial()
            for event in events():
                evolve(state, event, 1)

            async def once(full: bool) -> float:
                began = time.perf_counter()
                delta = reconciler.plan(state, await reconciler.observe(state, full))
                if delta:
                    await reconciler.apply(delta)
                return time.perf_counter() - began

            await once(True)
            assert len(kernel.kernel.routes) == BLOCKS
            await once(True)
            with here.inside(Socket) as opened:
                for _ in range(LOOKS):
                    look.append(await once(True))
                    dumps.append(dump(opened, nexthops.dump_all(), packed.dump_own(V4), packed.dump_own(V6)))
                    routes_only.append(dump(opened, packed.dump_own(V4)))
            for host in range(LOOKS):
                evolve(state, HostPlaced(node=f"node-{host}", uid="u", addresses=(f"10.99.200.{host}",)), 1)
                change.append(await once(False))
            check_routes(here)
        restart = await _restarted(here)
    return Afterwards(look, dumps, routes_only, change, restart)


async def _restarted(here: Namespace) -> float:
    """A new process's first look at a kernel that has everything already."""
    async with _opened(here) as kernel:
        reconciler = kernel.reconciler()
        state = reconciler.initial()
        for event in events():
            evolve(state, event, 1)
        for host in range(LOOKS):
            evolve(state, HostPlaced(node=f"node-{host}", uid="u", addresses=(f"10.99.200.{host}",)), 1)
        began = time.perf_counter()
        delta = reconciler.plan(state, await reconciler.observe(state, True))
        assert not delta, "a restart changed something"
        return time.perf_counter() - began


@contextlib.asynccontextmanager
async def _opened(here: Namespace) -> AsyncIterator[routes.Routes]:
    async with contextlib.AsyncExitStack() as stack:
        with here.entered():
            kernel = await stack.enter_async_context(routes.opened("me"))
        yield kernel


# --- told --------------------------------------------------------------------------------------------------


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def spread(values: list[float], say: Callable[[float], str]) -> str:
    return f"{say(statistics.median(values))} ({say(min(values))} to {say(max(values))})"


def per_second(seconds: float) -> str:
    return f"{BLOCKS / seconds:,.0f}/s"


def told(rounds: list[Bulk], spread_out: list[Bulk], after: Afterwards) -> Report:
    report = Report(f"Routes into the kernel: {BLOCKS:,} blocks on {HOSTS:,} hosts")
    ours = statistics.median(one.ours for one in rounds)
    rate = BLOCKS / ours
    report.add(
        "into an empty table, planned and applied", spread([one.ours for one in rounds], per_second),
        target="≥ 150,000/s", met=rate >= 150_000,
    )  # fmt: skip
    bare = [one.bare for one in rounds]
    for peer, seconds, least in (
        ("the same bytes from a bare loop", bare, 0.5),
        ("ip -batch, by gateway", [one.ip for one in rounds], 20),
        ("BIRD 2, kernel protocol, from its first route on", [one.bird for one in rounds], 20),
        ("BIRD 2, from its start on", [one.bird_started for one in rounds], 0),
    ):
        ratio = statistics.median(seconds) / ours
        target, met = (f"≥ {least:g}×", ratio >= least) if least else ("", None)
        report.add("", "", f"{peer} {spread(seconds, per_second)}", times(ratio), target, met)
    most = statistics.median(one.ip for one in rounds) / statistics.median(bare)
    report.add("", "", "what the bare loop is to ip -batch: the kernel gives no more", times(most))
    wide = statistics.median(one.ours for one in spread_out)
    for peer, seconds in (
        ("ip -batch, by gateway", [one.ip for one in spread_out]),
        ("BIRD 2, from its first route on", [one.bird for one in spread_out]),
    ):
        report.add(
            f"on {BLOCKS:,} hosts, a next hop for each block",
            spread([one.ours for one in spread_out], per_second),
            f"{peer} {spread(seconds, per_second)}", times(statistics.median(seconds) / wide),
        )  # fmt: skip
    asked = [one.ours + one.questions for one in rounds]
    report.add("the same with the questions what is on-link", spread(asked, per_second))
    look, dumps = statistics.median(after.look), statistics.median(after.dumps)
    report.add(
        "a full look that finds nothing to do", spread(after.look, ms),
        f"the kernel's dumps alone {spread(after.dumps, ms)}", times(look / dumps), "≤ 2×", look <= 2 * dumps,
    )  # fmt: skip
    only = statistics.median(after.routes_only)
    report.add(
        "", "", f"of routes alone, without nexthops {spread(after.routes_only, ms)}", times(look / only),
        "≤ 2×", look <= 2 * only,
    )  # fmt: skip
    change = statistics.median(after.change)
    report.add(
        "one host's address changed", spread(after.change, ms), target="< 5 ms", met=change < 0.005
    )  # fmt: skip
    report.add("first look after a restart, nothing changed", ms(after.restart))
    return report


def main() -> None:
    if reason := why_not() or ("" if shutil.which("bird") else "no `bird` here: apt-get install bird2"):
        raise SystemExit(reason)
    rounds = [bulk() for _ in range(ROUNDS)]
    spread_out = [bulk(BLOCKS) for _ in range(SPREAD_OUT)]
    report = told(rounds, spread_out, asyncio.run(afterwards()))
    routes_log.measure(report)
    report.print()


if __name__ == "__main__":
    main()
