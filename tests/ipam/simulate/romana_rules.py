"""Romana's address management as its rules are written down, without its defects: what `ipam simulate` is
held against. Slow, simple, and nothing of it is ours: only the standard library's `ipaddress`.

Two rules are not Romana's: a pod gets one address of each family, all or nothing, and a block that is
reserved as a whole is not opened.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

Outcome = tuple[bool, Any]


class Leaf:
    def __init__(self, network: Network, cidr: Any, needs: list[tuple[str, str]], hosts: list[str]) -> None:
        self.network, self.cidr, self.needs, self.hosts = network, cidr, needs, hosts
        self.blocks = list(cidr.subnets(new_prefix=network.mask))
        self.created: set[int] = set()
        self.owners: dict[int, tuple[str, str, str]] = {}
        self.owned: list[int] = []
        self.reusable: list[int] = []
        self.used: dict[int, set[Any]] = {}

    def admits(self, tags: dict[str, str]) -> bool:
        return all(tags.get(key) == value for key, value in self.needs)

    def find(self, owner: tuple[str, str, str], reserved: list[Any]) -> tuple[int, Any] | None:
        """A block and its lowest free address: the owner's own, one that came back, a new one."""
        own = [at for at in self.owned if self.owners[at] == owner]
        new = [at for at in range(len(self.blocks)) if at not in self.created]
        for at in own + self.reusable + new:
            for address in self.blocks[at]:
                if address not in self.used.get(at, ()) and not any(address in r for r in reserved):
                    return at, address
        return None

    def take(self, at: int, address: Any, owner: tuple[str, str, str]) -> None:
        if self.owners.get(at) != owner:
            self.owners[at] = owner
            self.owned.append(at)
            if at in self.reusable:
                self.reusable.remove(at)
        self.created.add(at)
        self.used.setdefault(at, set()).add(address)

    def free(self, address: Any) -> None:
        at = next(at for at, used in self.used.items() if address in used)
        self.used[at].discard(address)
        if not self.used[at]:
            self.clear(at)

    def clear(self, at: int) -> None:
        self.used[at] = set()
        del self.owners[at]
        self.owned.remove(at)
        self.reusable.append(at)


class Network:
    def __init__(self, raw: dict[str, Any], entries: list[dict[str, Any]]) -> None:
        self.name, self.cidr = raw["name"], ip_network(raw["cidr"])
        self.mask, self.tenants = raw["block_mask"], raw.get("tenants", [])
        self.leaves: list[Leaf] = []
        only = entries[0] if len(entries) == 1 else {"groups": entries}
        self._split(only, self.cidr, [])

    def _split(self, group: dict[str, Any], cidr: Any, above: list[tuple[str, str]]) -> None:
        """Padding is left out: it is closed."""
        needs = [*above, *group.get("assignment", {}).items()]
        entries = group.get("groups") or []
        if not entries or "ip" in entries[0]:
            self.leaves.append(Leaf(self, cidr, needs, [host["name"] for host in entries]))
            return
        parts = cidr.subnets(prefixlen_diff=(len(entries) - 1).bit_length())
        for entry, part in zip(entries, parts, strict=False):
            self._split(entry, part, needs)

    def leaf(self, host: str) -> Leaf | None:
        return next((leaf for leaf in self.leaves if host in leaf.hosts), None)


class Romana:
    """`tags`: of the hosts that there are, in the order in which they joined."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.given: dict[str, tuple[tuple[str, str, str], list[Any]]] = {}
        self.reserved: list[Any] = []
        self.networks = load(document)
        self.tags: dict[str, dict[str, str]] = {host: {} for leaf in self.leaves() for host in leaf.hosts}

    def leaves(self) -> list[Leaf]:
        return [leaf for network in self.networks.values() for leaf in network.leaves]

    def candidates(self, tenant: str) -> list[Network]:
        named = [network for network in self.networks.values() if tenant in network.tenants]
        return named + [network for network in self.networks.values() if not network.tenants]

    def play(self, op: dict[str, Any]) -> Outcome:
        try:
            return True, getattr(self, op["op"])(**{key: op[key] for key in op if key != "op"})
        except LookupError as error:
            return False, error.args[0]

    def allocate(self, name: str, host: str, tenant: str, segment: str) -> Any:
        if name in self.given:
            raise LookupError("exists")
        if not (candidates := self.candidates(tenant)):
            raise LookupError("no_network")
        owner, found = (host, tenant, segment), []
        for version in (4, 6):
            here = [n.leaf(host) for n in candidates if n.cidr.version == version]
            leaves = [leaf for leaf in here if leaf is not None]
            picks = [(leaf, pick) for leaf in leaves if (pick := leaf.find(owner, self.reserved))]
            if leaves and not picks:
                raise LookupError("exhausted")
            found += picks[:1]
        if not found:
            raise LookupError("exhausted")
        for leaf, (at, address) in found:
            leaf.take(at, address, owner)
        addresses = [address for _, (_, address) in found]
        self.given[name] = owner, addresses
        return str(addresses[0]) if len(addresses) == 1 else [str(address) for address in addresses]

    def deallocate(self, name: str) -> None:
        if name not in self.given:
            having = [one for one, (_, found) in self.given.items() if name in map(str, found)]
            if not having:
                raise LookupError("not_found")
            name = having[0]
        for address in self.given.pop(name)[1]:
            next(leaf for leaf in self.leaves() if address in leaf.cidr).free(address)

    def add_host(self, name: str, ip: str, tags: dict[str, str]) -> None:
        if name in self.tags:
            raise LookupError("exists")
        if not self._place(name, tags):
            raise LookupError("no_group")
        self.tags[name] = tags

    def _place(self, name: str, tags: dict[str, str]) -> bool:
        placed = False
        for network in self.networks.values():
            eligible = [leaf for leaf in network.leaves if leaf.admits(tags)]
            if eligible and not network.leaf(name):
                min(eligible, key=lambda leaf: len(leaf.hosts)).hosts.append(name)
                placed = True
        return placed

    def remove_host(self, name: str) -> None:
        if self.tags.pop(name, None) is None:
            raise LookupError("not_found")
        self.given = {one: (owner, a) for one, (owner, a) in self.given.items() if owner[0] != name}
        for leaf in self.leaves():
            if name in leaf.hosts:
                leaf.hosts.remove(name)
                for at in sorted(at for at, owner in leaf.owners.items() if owner[0] == name):
                    leaf.clear(at)

    def update_labels(self, name: str, tags: dict[str, str]) -> None:
        if name not in self.tags:
            raise LookupError("not_found")
        here = [leaf for leaf in self.leaves() if name in leaf.hosts]
        if tags != self.tags[name] and not all(leaf.admits(tags) for leaf in here):
            raise LookupError("ineligible")
        self.tags[name] = tags

    def update_topology(self, topology: dict[str, Any]) -> None:
        """Hosts and reserved ranges stay, and every address where it was; or nothing changes."""
        new = Romana(topology)
        listed = set(new.tags)
        homes: dict[tuple[str, Network], Leaf] = {}
        new.tags = {**self.tags, **{host: {} for host in new.tags if host not in self.tags}}
        for name, (owner, found) in self.given.items():
            for address in found:
                leaf = new._leaf(owner, address, listed)
                if homes.setdefault((owner[0], leaf.network), leaf) is not leaf:
                    raise LookupError("no_room")
                at = next(at for at, block in enumerate(leaf.blocks) if address in block)
                if leaf.owners.get(at, owner) != owner:
                    raise LookupError("no_room")
                leaf.take(at, address, owner)
            new.given[name] = owner, found
        for leaf in new.leaves():
            leaf.owned.sort()
            leaf.reusable = [at for at in range(max(leaf.created, default=0)) if at not in leaf.created]
            leaf.created.update(leaf.reusable)
            for at in leaf.reusable:
                leaf.used[at] = set()
        for (host, _), leaf in homes.items():
            if host not in listed:
                leaf.hosts.append(host)
        at_home = sorted({host for host, _ in homes})
        for host in at_home + [host for host in new.tags if host not in at_home]:
            if host not in listed:
                new._place(host, new.tags[host])
        joined = [*listed, *(host for host in new.tags if host not in listed)]
        for leaf in new.leaves():
            leaf.hosts.sort(key=lambda host: host not in listed and joined.index(host))
        self.networks, self.tags, self.given = new.networks, new.tags, new.given

    def _leaf(self, owner: tuple[str, str, str], address: Any, listed: set[str]) -> Leaf:
        host, tenant, _ = owner
        around = [network for network in self.candidates(tenant) if address in network.cidr]
        if not around:
            raise LookupError("no_network")
        for leaf in around[0].leaves:
            welcome = host in leaf.hosts if host in listed else leaf.admits(self.tags[host])
            if address in leaf.cidr and welcome:
                return leaf
        raise LookupError("no_room")

    def blackout(self, cidr: str) -> None:
        asked = ip_network(cidr)
        inside = [n.cidr for n in self.networks.values() if _in(asked, n.cidr)]
        if not inside:
            raise LookupError("no_network")
        if asked == inside[0]:
            raise LookupError("blackout_whole_network")
        if any(_in(asked, other) for other in self.reserved):
            return
        if any(address in asked for _, found in self.given.values() for address in found):
            raise LookupError("blackout_in_use")
        covered = [at for at, other in enumerate(self.reserved) if _in(other, asked)]
        if covered:
            self.reserved[covered[0]] = asked
        else:
            self.reserved.append(asked)

    def unblackout(self, cidr: str) -> None:
        asked = ip_network(cidr)
        if asked in self.reserved:
            self.reserved.remove(asked)
        elif any(_in(asked, n.cidr) for n in self.networks.values()):
            raise LookupError("no_such_blackout")
        else:
            raise LookupError("no_network")


def load(document: dict[str, Any]) -> dict[str, Network]:
    maps = {name: one["map"] for one in document["topologies"] for name in one["networks"]}
    return {raw["name"]: Network(raw, maps[raw["name"]]) for raw in document["networks"]}


def _in(inner: Any, outer: Any) -> bool:
    return bool(inner.version == outer.version and inner.subnet_of(outer))


def blocks(romana: Romana) -> dict[str, list[dict[str, Any]]]:
    return {
        name: [
            dict(zip(("host", "tenant", "segment"), leaf.owners.get(at, ("", "", "")), strict=True))
            | {"cidr": str(leaf.blocks[at]), "allocated_ip_count": len(leaf.used[at])}
            for leaf in network.leaves
            for at in sorted(leaf.created)
        ]
        for name, network in romana.networks.items()
    }


def hosts(romana: Romana) -> dict[tuple[str, str], list[str]]:
    """Leaf -> those in it, where there is anybody. Padding never has any."""
    return {(leaf.network.name, str(leaf.cidr)): leaf.hosts for leaf in romana.leaves() if leaf.hosts}


def addresses(romana: Romana) -> dict[str, set[str]]:
    return {name: {str(ip_address(a)) for a in found} for name, (_, found) in romana.given.items()}
