"""What must hold of a cluster, however bad its day was."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network
from typing import TYPE_CHECKING

from romana_bus.bus.stream_config import matches
from romana_bus.bus.writing.write import FencedWriter
from romana_bus.consumers.ipam import READS
from romana_bus.events import AddressAssigned, AddressDenied, AddressReleased, LeaderElected, codec
from romana_bus.events.base import SECOND
from romana_bus.ipam import State, Tick, evolve
from tests.ipam.fold.state_dump import dump
from tests.simulation.site import AT_ONCE, SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pytest

    from romana_bus.bus.api import Message, Outgoing
    from tests.simulation.log.server import Server
    from tests.simulation.site import Site


#: After these it is right, by what is known, to take an address from a pod that runs.
BELIEVED = frozenset({"stranger", "store_goes_back", "restored", "old_events"})


#: Seconds: after a backup was restored, somebody may still believe what was acknowledged before.
RESTORED = 30.0


def what_counts_as_stored(site: Site, patch: pytest.MonkeyPatch) -> None:
    """At every step: what a writer takes for stored stands at its place."""
    plain = FencedWriter._mark_stored

    def are_stored(self: FencedWriter, messages: list[Outgoing]) -> None:
        for place, message in enumerate(messages, self.acknowledged + 1):
            standing = site.server.message(self._role, place)
            restored = site.server.restored.get(self._role, -RESTORED)
            if standing and standing.id != message.id and site.time - restored > RESTORED:
                site.wrong(
                    f"{message.id} counts as stored, and at its place stands {standing.id or 'a stranger'}"
                )
        plain(self, messages)

    patch.setattr(FencedWriter, "_mark_stored", are_stored)


def at_the_end(site: Site, faults: Sequence[str]) -> None:
    """After it was left alone for long enough."""
    _nothing_ended(site)
    _elections_are_few(site, len(faults))
    if BELIEVED.isdisjoint(faults):
        _denied_in_doubt(site, "false_deletions" in faults)
        _taken_in_doubt(site)
    _acknowledged_is_there(site)
    _live_is_rebooted(site)
    _pods_have_addresses(site)
    _routes_lead_there(site)


def _denied_in_doubt(site: Site, deletions: bool) -> None:
    """KUBE says that a pod is gone which is there. `deletions`: a watch has told some that were none, which
    is believed, but not of more than so many a second of the log's time. (Two answers that agree are believed
    of any number.)"""
    once = [(at, gone) for at, gone, lies in site.denied if lies < 2]
    for place, (time, gone) in enumerate(once):
        soon = [at for at, _ in once[place:] if at < time + SECOND]
        if not deletions or len(soon) > AT_ONCE + 1:
            site.wrong(f"KUBE says that {gone.key()} is gone, which is there: {len(soon)} within a second")
            return


def _taken_in_doubt(site: Site) -> None:
    """An address of a pod that runs was taken, and KUBE never said that the pod is gone."""
    believed = {gone.uid for _, gone, _ in site.denied}
    for uid, what in site.taken:
        if uid not in believed:
            site.wrong(what)


def _nothing_ended(site: Site) -> None:
    for process in site.processes:
        if process.ended:
            site.wrong(f"a process ended: {process.ended}")


def _elections_are_few(site: Site, disturbances: int) -> None:
    """Whatever happens costs a few of them, never one after the other."""
    for role in ("KUBE", "IPAM"):
        elected = [
            one for one in site.server.all_of(role) if isinstance(codec.decode(one.body), LeaderElected)
        ]
        most = 2 + 4 * disturbances
        if len(elected) > most:
            site.wrong(f"{len(elected)} elections on {role}, by {disturbances} disturbances")


def _acknowledged_is_there(site: Site) -> None:
    for (role, seq), id in site.server.acknowledged.items():
        standing = site.server.message(role, seq)
        if standing is not None and standing.id != id:
            site.wrong(f"{role}/{seq} was acknowledged as {id}, and is {standing.id}")


def rebooted(server: Server, now: int) -> State:
    """What a process that starts now would know."""
    state = State(SETTINGS)
    evolve(state, Tick(now))
    for read in READS:
        for message in read.used(server.table_at(read.role, 0)):
            if matches(read.under, message.subject):
                _fold(state, message)
    return state


def _fold(state: State, message: Message) -> None:
    from romana_bus.runtime.parked import decode

    event = decode(message, message_role(message))
    if not isinstance(event, codec.Parked):
        evolve(state, event, message.seq)


def message_role(message: Message) -> str:
    return message.subject.partition(".")[0].upper()


def _live_is_rebooted(site: Site) -> None:
    for name, state in site.states.items():
        live, other = dump(state), dump(rebooted(site.server, state.now))
        for part in live:
            if live[part] != other[part]:
                site.wrong(f"{name}: {part}, live {_differ(live[part], other[part])}")


def _differ(live: object, booted: object) -> str:
    if isinstance(live, dict) and isinstance(booted, dict):
        keys = [key for key in {**live, **booted} if live.get(key) != booted.get(key)]
        return "; ".join(f"{key}: {live.get(key)} / rebooted {booted.get(key)}" for key in keys[:3])
    return f"{live} / rebooted {booted}"


def _pods_have_addresses(site: Site) -> None:
    """Everyone that can have one has one, and it is the one with which it runs."""
    newest = {
        (event.node, f"{event.namespace}/{event.name}"): event
        for message in site.server.table_at("IPAM", 0)
        if isinstance(event := codec.decode(message.body), AddressAssigned | AddressDenied | AddressReleased)
    }
    for key, pod in site.kube.truth["pods"].items():
        node, uid = pod["spec"]["nodeName"], pod["metadata"]["uid"]
        machine = site.machines[node]
        if pod["spec"].get("hostNetwork") or pod["status"]["phase"] == "Succeeded" or not machine.on:
            continue
        word, running = newest.get((node, key)), machine.running.get(key)
        if uid in site.unknown:
            continue
        if running is None:
            if not (_by_an_unknown(site, word) or _is_full(newest.values(), word)):
                site.wrong(f"{key} on {node} does not run: {word}")
        elif (
            not isinstance(word, AddressAssigned)
            or word.uid != uid
            or word.addresses[0].address != running.address
        ):
            site.wrong(f"{key} runs on {node} with {running.address}, and the log says {word}")


def _is_full(words: Iterable[object], denied: object) -> bool:
    """Whether a denial is right: each block of the group has an address that is held, and those of the node
    have no other."""
    if not isinstance(denied, AddressDenied) or denied.code != "exhausted":
        return False
    group = ip_network(denied.reason.split()[-1])
    held = [
        (word.node, ip_network(f"{one.address}/{SETTINGS.default_block_mask}", strict=False))
        for word in words
        if isinstance(word, AddressAssigned)
        for one in word.addresses
    ]
    own = Counter(block for node, block in held if node == denied.node)
    used = {block for _, block in held if block.subnet_of(group)}  # type: ignore[arg-type]
    whole = len(used) == group.num_addresses // next(iter(used)).num_addresses
    return whole and all(count == block.num_addresses for block, count in own.items())


def _by_an_unknown(site: Site, event: object) -> bool:
    """A running address without a known owner."""
    addresses = [one.address for one in event.addresses] if isinstance(event, AddressAssigned) else []
    return any(
        one.uid in site.unknown and one.address in addresses
        for machine in site.machines.values()
        for one in machine.running.values()
    )


def _routes_lead_there(site: Site) -> None:
    for machine in site.machines.values():
        for address, (there, key) in site.owners.items():
            way = machine.world.way(address)
            wanted = site.machines[there].address
            known = site.machines[there].running[key].uid not in site.unknown
            if known and machine.on and there != machine.name and way != wanted:
                site.wrong(f"from {machine.name} to {key} on {there}: {way} instead of {wanted}")
