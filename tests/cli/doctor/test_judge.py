"""What each check says of facts: one table for each."""

from __future__ import annotations

from typing import Any

import pytest

from romana_bus.cli.doctor import facts
from romana_bus.cli.doctor.checks import CHECKS, GATHERERS
from romana_bus.cli.doctor.finding import NAMED, OK, UNSEEN, WARNING, WRONG, Unseen, judged
from romana_bus.inet import V4, parse_prefix
from romana_bus.ipam.audit.finding import Finding
from romana_bus.ipam.change.overlaps import NetworkOverlap
from romana_bus.ipam.model.underlay import CONNECTED, Claim
from romana_bus.routing.obstacles import MAIN, Chain, Foreign, Rule

CHECK = {check.name: check for check in CHECKS}
PODS, OWN, OTHER = map(parse_prefix, ("10.20.0.0/16", "10.20.0.0/17", "10.20.128.0/17"))

KERNEL = facts.Kernel("6.1", True, True, False, True)
FORWARD = facts.Sysctl("net.ipv4.ip_forward", "0", "1", "packets of pods are not forwarded", True)
LOOSE = facts.Sysctl("net.ipv4.conf.all.rp_filter", "2", "0", "pods may send as others", False)
PLUGIN = facts.Plugin(
    runtime="containerd", bin_dir="/bin", conf_dir="/net.d", present=True, versions=("1.0.0", "1.1.0"),
    ours="10-romana-bus.conflist", version="1.1.0", first="10-romana-bus.conflist",
    socket="/run/cni.sock", expected="/run/cni.sock", chained=(facts.Chained("portmap", ("1.0.0", "1.1.0")),),
)  # fmt: skip
OLD = PLUGIN._replace(version="1.0.0", chained=(facts.Chained("portmap", ("1.0.0",)),))
DELTA = facts.RouteDelta("n1", True, (), (), (), {}, 4)
TABLES = (Rule(V4, 0, table=255), Rule(V4, 32766, table=MAIN))
FREE = facts.Obstacles(Foreign(rules=TABLES, defaults=frozenset({V4})), (PODS,), 0)
HEALTHY = facts.Writers({}, (), (), (), ())
NODES = facts.Nodes(3, {}, {}, 3)
API = facts.ApiServer("https://api", resources=("nodes", "pods"))
RULE = '{apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]}'
OVERLAP = NetworkOverlap(PODS, Claim(CONNECTED, parse_prefix("10.20.3.0/24")), ("n1",), False)
LEAK = Finding(kind="nobody", text="10.20.0.3 of web/a is held by nobody")


def foreign(prefix: str, *, own: bool = True) -> facts.ForeignRoutes:
    return facts.ForeignRoutes(
        (OWN, OTHER), (OWN,) if own else (), ((parse_prefix(prefix), 12, "via 192.0.2.9"),)
    )


#: check, facts, state, what the finding says somewhere.
CASES: tuple[tuple[str, Any, str, tuple[str, ...]], ...] = (
    ("agent", facts.Agent("/s"), OK, ("ready",)),
    ("agent", facts.Agent("/s", spooled=2), OK, ("wait for it: 2",)),
    ("agent", facts.Agent("/s", "Connection refused"), WRONG, ("/s", "Connection refused")),
    ("agent", facts.Agent("/s", code=50, text="no block"), WRONG, ("not ready: no block", "NotReady")),
    ("runtime", PLUGIN, OK, ("containerd reads /net.d and /bin", "10-romana-bus.conflist")),
    ("runtime", PLUGIN._replace(trouble="config.toml: not TOML"), WRONG, ("config.toml: not TOML",)),
    ("runtime", PLUGIN._replace(first="", ours=""), WRONG, ("no network configuration", "install-cni")),
    ("runtime", PLUGIN._replace(first="05-flannel.conf"), WRONG, ("uses 05-flannel.conf", "remove 05-")),
    ("runtime", PLUGIN._replace(first="05-flannel.conf", ours=""), WRONG, ("05-flannel", "install-cni")),
    ("plugin", PLUGIN, OK, ("CNI 1.1.0: romana-cni, portmap",)),
    ("plugin", PLUGIN._replace(trouble="x"), UNSEEN, ()),
    ("plugin", PLUGIN._replace(present=False), WRONG, ("/bin has no romana-cni", "install-cni")),
    ("plugin", PLUGIN._replace(versions=()), WRONG, ("romana-cni does not work",)),
    ("plugin", PLUGIN._replace(ours=""), WRONG, ("no configuration with romana-cni",)),
    ("plugin", PLUGIN._replace(invalid="not JSON"), WRONG, ("10-romana-bus.conflist: not JSON",)),
    ("plugin", PLUGIN._replace(socket="/other"), WRONG, ("/other", "/run/cni.sock", "--run-dir")),
    ("plugin", PLUGIN._replace(chained=(facts.Chained("portmap", None),)), WRONG, ("portmap: not in /bin",)),
    ("plugin", PLUGIN._replace(chained=(facts.Chained("portmap", ()),)), WRONG, ("portmap: does not work",)),
    ("plugin", PLUGIN._replace(chained=OLD.chained), WRONG, ("portmap: does not know CNI 1.1.0",)),
    ("plugin", PLUGIN._replace(version="0.3.1", chained=()), WRONG, ("0.3.1", "1.0.0, 1.1.0")),
    ("plugin", OLD, WARNING, ("CNI 1.0.0", "STATUS and GC", "update portmap", "libcni 1.2")),
    ("nexthop objects", KERNEL, OK, ()),
    ("nexthop objects", KERNEL._replace(nexthop_objects=False), WARNING, ("5.3",)),
    ("IPv6", KERNEL, OK, ()),
    ("IPv6", KERNEL._replace(ipv6_disabled=True), WARNING, ("disable_ipv6 is 1", "sysctl -w")),
    ("IPv6", KERNEL._replace(ipv6=False), WARNING, ("no IPv6", "ipv6.disable=1")),
    ("nftables", KERNEL, OK, ()),
    ("nftables", KERNEL._replace(nftables=False), WARNING, ("CONFIG_NF_TABLES",)),
    ("nftables", KERNEL._replace(nftables=None), UNSEEN, ("root",)),
    ("forwarding", facts.Sysctls((), ()), OK, ()),
    ("forwarding", facts.Sysctls((LOOSE,), ()), OK, ()),
    ("forwarding", facts.Sysctls((FORWARD,), ()), WRONG, ("net.ipv4.ip_forward is 0", "ip_forward=1")),
    ("forwarding", facts.Sysctls((FORWARD,), ("/proc/sys is read-only",)), WRONG, ("read-only", "is 0")),
    ("rp_filter", facts.Sysctls((FORWARD,), ()), OK, ()),
    ("rp_filter", facts.Sysctls((LOOSE,), ()), WRONG, ("rp_filter is 2", "pods may send as others")),
    ("MTU", facts.Mtu("eth0", 1450, {"rb1": 1450}), OK, ("1450",)),
    ("MTU", facts.Mtu("eth0", 1450, {"rb1": 1500, "rb2": 1400}), WRONG, ("rb1: 1500", "--mtu 1450")),
    ("MTU", facts.Mtu("", 0, {"rb1": 1500}), UNSEEN, ("default route",)),
    ("firewalls and rules", FREE, OK, ()),
    ("firewalls and rules", FREE._replace(foreign=Foreign(rules=TABLES)), WARNING, ("no IPv4 default",)),
    (
        "firewalls and rules",
        FREE._replace(foreign=Foreign((Chain("ip", "filter", "FORWARD"),), TABLES)),
        WRONG,
        ("policy of FORWARD is DROP", "no IPv4 default route"),
    ),
    ("foreign routes", facts.ForeignRoutes((), (), ()), UNSEEN, ()),
    ("foreign routes", facts.ForeignRoutes((OWN,), (OWN,), ()), OK, ()),
    ("foreign routes", foreign("10.20.0.0/24"), WRONG, ("10.20.0.0/24 via 192.0.2.9, of bird",)),
    ("foreign routes", foreign("10.20.128.0/17"), OK, ("other zones", "10.20.128.0/17")),
    ("foreign routes", foreign("10.20.128.0/17", own=False), WRONG, ("10.20.128.0/17",)),
    ("routes", DELTA, OK, ("other nodes: 4",)),
    ("routes", DELTA._replace(known=False), WRONG, ("no node n1", "--node-name")),
    ("routes", DELTA._replace(missing=("a", "b"), changed=("c",)), WRONG, ("2 missing, 1 different", "b")),
    ("routes", DELTA._replace(surplus=("d",)), WRONG, ("1 too many", "d")),
    ("routes", DELTA._replace(refused={"10.0.0.0/8": "the way to"}), WRONG, ("10.0.0.0/8: the way to",)),
    ("links of pods", facts.PodLinks({}, (), 3), OK, ("links of pods: 3",)),
    ("links of pods", facts.PodLinks({"rb1": ("it was down",)}, ("rb2",), 3), WRONG,
     ("1 changed, 1 gone, of 3", "rb1: it was down", "rb2: gone")),
    ("NATS", facts.Nats("nats://a", version="2.15.1"), OK, ("2.15.1", "nats://a")),
    ("NATS", facts.Nats("nats://a", "cannot reach NATS"), WRONG, ("cannot reach NATS", "--nats")),
    ("streams", facts.Streams(7, {"KUBE": 0, "IPAM": 3}, (), ()), OK, ("2 streams with 7 messages",)),
    ("streams", facts.Streams(7, {"KUBE": 5000}, (), ()), WRONG, ("the table of KUBE is 5,000 messages",)),
    ("streams", facts.Streams(7, {}, ("S: the stream has no leader",), ()), WRONG, ("no leader",)),
    ("streams", facts.Streams(7, {}, (), ("the disk is 91% full",)), WRONG, ("91%", "store set --size")),
    ("settings of NATS", facts.NatsSettings({}, {}), OK, ()),
    ("settings of NATS", facts.NatsSettings({"max_payload": "too small"}, {"a": "b"}), WRONG,
     ("max_payload: too small",)),
    ("settings of NATS", facts.NatsSettings({}, {"jetstream.sync_interval": "always"}), WARNING,
     ("sync_interval: needs always", "--nats-monitor")),
    ("clocks", facts.Clocks(-1.0, 2.0, {"KUBE": 0.5}), OK, ()),
    ("clocks", facts.Clocks(90.0, None, {}), WARNING, ("90 s ahead of the NATS server",)),
    ("clocks", facts.Clocks(0.0, -3600.0, {}), WARNING, ("3,600 s behind the API server",)),
    ("clocks", facts.Clocks(90.0, None, {"IPAM": 60.0}), WRONG, ("IPAM by 60 s", "90 s ahead")),
    ("writers", HEALTHY, OK, ()),
    ("writers", HEALTHY._replace(leaderless={"KUBE": "watch"}), WRONG, ("KUBE", "`romana-bus watch`")),
    ("writers", HEALTHY._replace(foreign=("IPAM/9, ipam.map",)), WRONG, ("IPAM/9", "revoke")),
    ("writers", HEALTHY._replace(refused=("a may not publish x",)), WRONG, ("a may not publish x",)),
    ("writers", HEALTHY._replace(parked=("KUBE/3: newer",)), WRONG, ("KUBE/3: newer",)),
    ("writers", HEALTHY._replace(unsynced=("pods: being listed",)), WARNING, ("pods: being listed",)),
    ("API server", API, OK, ("https://api",)),
    ("API server", API._replace(trouble="HTTP 401"), WRONG, ("HTTP 401", "kubeconfig")),
    ("RBAC", API, OK, ("list and watch nodes, pods",)),
    ("RBAC", API._replace(trouble="HTTP 401"), UNSEEN, ()),
    ("RBAC", API._replace(rules=(RULE,), said="pods is forbidden"), WRONG, ("pods is forbidden", RULE)),
    ("nodes", NODES, OK, ("nodes: 3",)),
    ("nodes", NODES._replace(trouble={"n1": ("no report",)}), WRONG, ("trouble: 1 of 3", "n1: no report")),
    ("nodes", NODES._replace(denied={"n2": "no group"}), WRONG, ("topology: 1 of 3", "n2: no group")),
    ("nodes", NODES._replace(reporting=0), WARNING, ("nodes: 3, and none reports", "romana-bus agent")),
    ("overlap", facts.Networks({"pods": "10.20.0.0/16"}, ()), OK, ("pods 10.20.0.0/16",)),
    ("overlap", facts.Networks({"pods": "10.20.0.0/16"}, (OVERLAP,)), WRONG,
     ("10.20.0.0/16 overlaps 10.20.3.0/24, a connected prefix of node n1",)),
    ("addresses", facts.Addresses(2, 5, 2, (), ""), OK, ("nodes: 2, pods: 5, kernels: 2",)),
    ("addresses", facts.Addresses(2, 5, 0, (), ""), OK, ("no agent reports",)),
    ("addresses", facts.Addresses(2, 5, 2, (LEAK,), ""), WRONG, ("kernels: 1", LEAK.text, "ipam check")),
    ("addresses", facts.Addresses(2, 5, 2, (), "pods are being listed"), WARNING, ("being listed",)),
)  # fmt: skip


@pytest.mark.parametrize(("name", "known", "state", "parts"), CASES)
def test_finding(name: str, known: Any, state: str, parts: tuple[str, ...]) -> None:
    check = CHECK[name]
    assert isinstance(known, check.facts)
    finding = check.judge(known)
    assert finding.state == state, finding
    text = "\n".join((finding.found, finding.means, finding.do, *finding.details))
    for part in parts:
        assert part in text
    if state in (WRONG, WARNING):
        assert finding.means, "what it means is said"
        assert finding.do, "what to do is said"


def test_every_check_is_in_the_table_of_cases_and_can_be_gathered() -> None:
    found = {(name, state) for name, _, state, _ in CASES}
    assert {name for name, _ in found} == set(CHECK)
    for name in CHECK:
        assert (name, OK) in found
        assert {(name, WRONG), (name, WARNING)} & found
    assert {check.facts for check in CHECKS} == set(GATHERERS)


def test_facts_that_could_not_be_gathered_are_not_well() -> None:
    row = judged(CHECK["NATS"], {facts.Nats: Unseen("no NATS server is named")})
    assert (row.finding.state, row.finding.found) == (UNSEEN, "no NATS server is named")


def test_many_details_are_counted() -> None:
    finding = CHECK["routes"].judge(DELTA._replace(missing=tuple(map(str, range(NAMED + 3)))))
    assert (len(finding.details), finding.more) == (NAMED, 3)
    assert "13 missing" in finding.found


def test_every_check_is_documented() -> None:
    from pathlib import Path

    text = (Path(__file__).parents[3] / "docs/troubleshooting.md").read_text()
    for name in CHECK:
        assert f"| {name} |" in text, f"docs/troubleshooting.md has no row for the check {name}"
