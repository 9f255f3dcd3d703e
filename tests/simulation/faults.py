"""What goes wrong on a bad day: each fault is a function of the site, and says what it did."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from romana_bus.bus.api import Outgoing
from romana_bus.events import IPAM, KUBE, NODE, AddressAssigned, NodeGone, NodeSeen, PodGone, PodSeen, codec

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from typing import Any

    from tests.simulation.process import Process
    from tests.simulation.site import Site

    Fault = Callable[[Site], Coroutine[Any, Any, None]]

JUNK = (
    b"",
    b"{",
    b"[" * 5000,
    b'{"type":"Nobody"}',
    b'{"type":"AddressAssigned"}',
    b"\xff\xfe",
    b"null",
    b"1e999",
)


def _anyone(site: Site) -> Process:
    return site.chance.choice(site.processes)


async def kill(site: Site) -> None:
    process = _anyone(site)
    if process.mark.killed:
        return
    seconds = site.chance.uniform(0.2, 6.0)
    site.say(f"kill -9 {process.name}, for {seconds:.1f} s")
    process.kill()
    await asyncio.sleep(seconds)
    process.start()


async def stop(site: Site) -> None:
    process = _anyone(site)
    if not process.runs:
        return
    mark, seconds = process.mark, site.chance.choice([0.5, 3.0, 8.0, 20.0])
    site.say(f"SIGSTOP {process.name}, for {seconds:.1f} s")
    mark.stop()
    await asyncio.sleep(seconds)
    if not mark.killed:
        mark.go_on()


async def cut_off(site: Site) -> None:
    process = _anyone(site)
    store, seconds = process.store, site.chance.choice([0.3, 2.0, 5.0, 15.0])
    site.say(f"{process.name} is cut off from NATS, for {seconds:.1f} s")
    store.disconnect()
    await asyncio.sleep(seconds)
    store.reconnect()


async def no_server(site: Site) -> None:
    """NATS is away, or its leader was stopped and there is no other yet."""
    seconds = site.chance.choice([0.5, 3.0, 12.0])
    site.say(f"NATS is away, for {seconds:.1f} s")
    clients = [*site.server.clients]
    for client in clients:
        client.disconnect()
    await asyncio.sleep(seconds)
    for client in clients:
        client.reconnect()


async def lost_answers(site: Site) -> None:
    seconds, site.server.losing = site.chance.uniform(1.0, 15.0), site.chance.choice([0.05, 0.3, 1.0])
    site.say(f"{site.server.losing:.0%} of NATS's answers get lost, for {seconds:.1f} s")
    await asyncio.sleep(seconds)
    site.server.losing = 0.0


async def late_answers(site: Site) -> None:
    """Some arrive after the caller has given up."""
    seconds, site.server.delay = site.chance.uniform(2.0, 10.0), site.chance.choice([0.3, 2.0, 5.0])
    site.say(f"NATS's answers are late by up to {site.server.delay} s, for {seconds:.1f} s")
    await asyncio.sleep(seconds)
    site.server.delay = 0.0


async def store_goes_back(site: Site) -> None:
    """Where decisions are lost, nobody knows any more of those who were given an address, and of whose
    report, or node, the log does not know."""
    role, by = site.chance.choice([KUBE, KUBE, NODE, IPAM]), site.chance.choice([1, 3, 20, 10_000])
    if role == IPAM:
        facts = [codec.decode(message.body) for message in site.server.table_at(KUBE, 0)]
        reported = {f"{fact.namespace}/{fact.name}": fact.ips for fact in facts if isinstance(fact, PodSeen)}
        nodes = {fact.name for fact in facts if isinstance(fact, NodeSeen)}
        site.unknown |= {
            event.uid
            for event in _given(site)
            if event.addresses[0].address not in reported.get(f"{event.namespace}/{event.name}", ())
            or event.node not in nodes
        }
    if role == KUBE:
        site.lied = site.time  # a list is all that there is now, so a wrong one would be believed
    site.say(f"{role} was restored from a backup: {by} messages are lost")
    site.server.go_back(role, by)


async def clock_steps(site: Site) -> None:
    """By less than the history, together: further ahead, the server forgets the log."""
    by = site.chance.choice([-3600.0, -60.0, 60.0, 3600.0])
    site.say(f"the clock of NATS steps by {by:.0f} s")
    site.server.step += by


async def stranger(site: Site) -> None:
    """A foreign writer writes on a fenced stream, or junk anywhere."""
    role = site.chance.choice([IPAM, KUBE, NODE])
    for _ in range(site.chance.choice([1, 1, 3])):
        message = site.chance.choice([_junk, _two_owners, _gone])(site, role)
        if message is None:
            continue
        site.say(f"a stranger writes on {role}, under {message.subject}: {message.body[:60]!r}")
        if site.chance.random() < 0.5:
            site.server.ambushes.append((role, message))
        else:
            site.server._store(role, site.server._stream(role), message)
        await asyncio.sleep(site.chance.choice([0.0, 0.01, 1.0]))


def _junk(site: Site, role: str) -> Outgoing:
    subjects = [message.subject for message in site.server.table_at(role, 0)]
    subject = site.chance.choice([f"{role.lower()}.x.y", *subjects[-5:]])
    if role != KUBE and subject in subjects:
        subject = f"{role.lower()}.x.y"  # what it took the place of, nobody could know any more
    return Outgoing(subject, site.chance.choice(JUNK))


def _given(site: Site) -> list[AddressAssigned]:
    """As the log has it."""
    return [
        event
        for message in site.server.table_at(IPAM, 0)
        if isinstance(event := codec.decode(message.body), AddressAssigned)
    ]


def _two_owners(site: Site, role: str) -> Outgoing | None:
    """A pod's address, for another pod."""
    given = _given(site)
    if role != IPAM or not given:
        return None
    one = site.chance.choice(given)
    other = msgspec.structs.replace(one, name=f"{one.name}-stranger", uid="uid-stranger")
    return Outgoing(other.subject(), codec.encode(other))


def _gone(site: Site, role: str) -> Outgoing | None:
    """A pod or a node is gone, in a version that no real one reaches."""
    kind = site.chance.choice(["pods", "nodes"])
    objects = sorted(site.kube.truth[kind])
    if role != KUBE or not objects:
        return None
    key = site.chance.choice(objects)
    uid = site.kube.truth[kind][key]["metadata"]["uid"]
    namespace, _, name = key.rpartition("/")
    event = (
        PodGone(resource_version=str(10**18), uid=uid, namespace=namespace, name=name)
        if namespace
        else NodeGone(resource_version=str(10**18), uid=uid, name=name)
    )
    return Outgoing(event.subject(), codec.encode(event))


# --- the API server -----------------------------------------------------------------------------------------


async def wrong_list(site: Site) -> None:
    """After a 410, one answer lacks what is there."""
    if site.time - site.lied < 60.0:
        return  # two wrong answers that agree are believed
    site.lied = site.time
    lies: list[tuple[slice, str]] = [
        (slice(None), "everything"), (slice(None, None, 2), "half"), (slice(1), "one"),
    ]  # fmt: skip
    lie, what = site.chance.choice(lies)
    kind = site.chance.choice(["pods", "pods", "nodes"])
    site.say(f"watches end with 410, and the next list of {kind} lacks {what}")

    def lacks(keys: list[str]) -> set[str]:
        for key in keys[lie] if kind == "pods" else ():
            site.lied_about(key)
        return {*keys[lie]}

    site.kube.lies[kind] = lacks
    site.kube.version += 1000
    site.kube.compact()
    site.kube.cut()


async def expired(site: Site) -> None:
    site.say("watches end, and their versions are too old")
    site.kube.version += 1000
    site.kube.compact()
    site.kube.cut()


async def false_deletions(site: Site) -> None:
    """They are believed, but for those that are more than so many a second. Soon the truth is told again, and
    each pod gets its address back; where something else delays that, it may be another's by then."""
    keys = sorted(site.kube.truth["pods"])
    belied = site.chance.sample(keys, min(len(keys), site.chance.choice([1, 3, 60])))
    for key in belied:
        site.say(f"a watch says that {key} was deleted, which is there")
        site.kube.false_deletion(key)
        site.lied_about(key)
        if site.kinds != ["false_deletions"]:
            site.unknown.add(site.kube.truth["pods"][key]["metadata"]["uid"])
    await asyncio.sleep(site.chance.uniform(0.0, 5.0))
    site.say("the kubelets tell of those pods again")
    for key in belied:
        site.kube.touch(key)
        if pod := site.kube.truth["pods"].get(key):
            del site.lies[pod["metadata"]["uid"]]


async def old_events(site: Site) -> None:
    site.say("a watch tells old events again")
    for _ in range(site.chance.randint(1, 10)):
        site.kube.old_event_again()


async def restored(site: Site) -> None:
    """etcd, from a backup of some seconds ago, of this very history."""
    backup, seconds, restores = site.kube.snapshot(), site.chance.uniform(1.0, 20.0), site.kube.restores
    await asyncio.sleep(seconds)
    if site.kube.restores != restores:
        return
    site.say(f"etcd is restored from {seconds:.1f} s ago")
    site.kube.restore(backup)


async def api_down(site: Site) -> None:
    seconds = site.chance.choice([1.0, 10.0, 40.0])
    site.say(f"the API server is away, for {seconds:.0f} s")
    site.kube.down_until = asyncio.get_running_loop().time() + seconds
    site.kube.cut()


async def cuts(site: Site) -> None:
    """A balancer that cuts every connection, again and again."""
    times, pause = site.chance.choice([(20, 0.1), (5, 20.0)])
    site.say(f"watches are cut {times} times, every {pause} s")
    for _ in range(times):
        site.kube.cut()
        await asyncio.sleep(pause)


async def re_register(site: Site) -> None:
    """A node's object is deleted and created again, as when a kubelet registers again. Its pods run on."""
    machine = site.chance.choice([*site.machines.values()])
    seconds = site.chance.choice([0.1, 5.0, 25.0])
    if not machine.on or machine.name not in site.kube.truth["nodes"]:
        return
    site.say(f"node {machine.name} is deleted, for {seconds:.1f} s")
    site.kube.delete("nodes", machine.name)
    await asyncio.sleep(seconds)
    if site.machines[machine.name].on and machine.name not in site.kube.truth["nodes"]:
        site.register(machine)


async def machine_dies(site: Site) -> None:
    machines = [one for one in site.machines.values() if one.on]
    if len(machines) < 3:
        return
    machine = site.chance.choice(machines)
    site.say(f"machine {machine.name} dies")
    machine.power_off()
    site.agents.pop(machine.name).kill()
    await asyncio.sleep(site.chance.uniform(0.0, 20.0))
    site.kube.delete("nodes", machine.name)


FAULTS: dict[str, Fault] = {
    one.__name__: one
    for one in (
        kill, stop, cut_off, no_server, lost_answers, late_answers, store_goes_back, clock_steps, stranger,
        wrong_list, expired, false_deletions, old_events, restored, api_down, cuts, re_register, machine_dies,
    )
}  # fmt: skip
