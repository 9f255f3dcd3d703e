"""The reports of nodes, in `status`: which nodes are up to date, which lag behind, which do not report."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from romana_bus.cli.common import console, event_text
from romana_bus.cli.common.terminal import Text
from romana_bus.cli.ipam.shortages import print_unplaced
from romana_bus.cli.status.node_addresses import address_trouble
from romana_bus.events import (
    IPAM,
    NODE,
    AgentUninstalled,
    Applied,
    ApplyFailed,
    BlockAssigned,
    HostDenied,
    HostPlaced,
    NodeChecked,
    NodeNetwork,
    Wired,
)
from romana_bus.events.base import SECOND
from romana_bus.inet import parse_prefix
from romana_bus.ipam.model.underlay import claims_of
from romana_bus.runtime import alive
from romana_bus.runtime.feed import Read, read_once

if TYPE_CHECKING:
    from collections.abc import Iterable

    from romana_bus.bus.api import Store
    from romana_bus.events import Event
    from romana_bus.inet import Prefix
    from romana_bus.runtime.parked import ParkedMessages

#: µs within which a reconciler has read an event.
LATE = 10 * SECOND
#: Names of counts in reports. Blocks cut off: those that cannot be reached.
BY_DEFAULT, OFF_LINK, CUT_OFF = "blocks by default route", "hosts off link", "blocks cut off"
REFUSED = "routes refused"
#: How many refused routes are named.
NAMED = 3
#: How many different counts of the default route are shown.
VIEWS = 3
#: µs after its agent's first report within which a new node gets a place.
JOINING = 30 * SECOND
#: µs within which agents report their routes that neither answer nor report what their node lives on: those
#: before commit 5058d48, every 60 s.
OLDER_REPORTS = 120 * SECOND
#: Seconds in which agents of nodes that the log does not know answer; most such nodes were removed.
UNKNOWN_WITHIN = 0.5


async def nodes(store: Store, now: int, flaws: ParkedMessages) -> list[dict[str, Any]]:
    """Every node that is placed, has a block, or has reported; by name. `flaws`: collects parked messages.
    Raises BusError."""
    newest = await store.newest(IPAM, "ipam.map.>")
    end = newest.seq if newest else 0
    by_name: dict[str, dict[str, Any]] = {}
    known: set[str] = set()

    def entry(name: str) -> dict[str, Any]:
        new = {"node": name, "placed": False, "denied": "", "unknown": False, "blocks": 0}
        lists: dict[str, list[Any]] = {key: [] for key in ("overlaps", "problems", "notes", "reports")}
        return by_name.setdefault(name, new | {"lacks": "", "older": False, "uninstalled": False} | lists)

    hosts: list[HostPlaced] = []
    placements: dict[str, list[Prefix]] = {}
    for _, event in await newest_events(store, IPAM, "ipam.map.>", flaws):
        if isinstance(event, HostPlaced | HostDenied):
            known.add(event.node)
        if isinstance(event, HostPlaced):
            entry(event.node)["placed"], entry(event.node)["lacks"] = True, event.lacks
            hosts.append(event)
            placements[event.node] = [parse_prefix(placement.prefix) for placement in event.placements]
        elif isinstance(event, HostDenied):
            entry(event.node)["denied"] = event.reason
        elif isinstance(event, BlockAssigned):
            entry(event.node)["blocks"] += 1
    for name, texts in address_trouble(hosts).items():
        entry(name)["problems"] += texts
    stored = {}
    checks = {}
    without_agent, of_this_version = set[str](), set[str]()
    for time, event in await newest_events(store, NODE, ">", flaws):
        if isinstance(event, Applied | ApplyFailed | Wired):
            stored[event.subject()] = time, event
        elif isinstance(event, NodeChecked):
            checks[event.subject()] = event
        elif isinstance(event, AgentUninstalled):
            without_agent.add(event.node)
        elif isinstance(event, NodeNetwork):
            of_this_version.add(event.node)
            overlaps = [
                f"{prefix} overlaps {claim.text}, {claim.of('the node')}"
                for prefix in placements.get(event.node, ())
                for claim in claims_of(event)
                if prefix.overlaps(claim.prefix)
            ]
            if overlaps:
                entry(event.node)["overlaps"] = overlaps
    living = [subject for subject, (_, event) in stored.items() if event.node in by_name]
    answers = await alive.ask(store, living) if living else {}
    unknown = [
        subject
        for subject, (time, event) in stored.items()
        if event.node not in known and time < now - JOINING
    ]
    if missing := [subject for subject in unknown if subject not in answers]:
        answers |= await alive.ask(store, missing, UNKNOWN_WITHIN)
    for subject in unknown:
        if subject in answers:
            entry(stored[subject][1].node)["unknown"] = True
    for subject, event in answers.items():
        if isinstance(event, Applied | ApplyFailed | Wired):
            stored[subject] = now, event
        elif isinstance(event, NodeChecked):
            checks[subject] = event
    for check in checks.values():
        if check.node in by_name:
            entry(check.node)["problems"] += check.problems
            entry(check.node)["notes"] += check.notes
    for subject, (time, event) in sorted(stored.items()):
        entry(event.node)["reports"].append(_report(event, time, end, subject in answers))
    reports = [report for node in by_name.values() for report in node["reports"]]
    behind = sorted({report["covers"][IPAM] for report in reports if report.get("behind")})
    late = set(await _late(store, behind, now - LATE))
    for report in reports:
        report["late"] = bool(report.get("behind")) and report["covers"][IPAM] in late
    for node in by_name.values():
        node["reports"].sort(key=lambda report: str(report["consumer"]))
        node["uninstalled"] = node["node"] in without_agent and not node["reports"]
        node["older"] = node["node"] not in of_this_version and _reports_unasked(node["reports"], now)
        node["trouble"] = trouble(node, now)
    return [node for _, node in sorted(by_name.items())]


async def newest_events(
    store: Store, role: str, under: str, flaws: ParkedMessages
) -> list[tuple[int, Event]]:
    """The newest event of each subject, with its time. `flaws`: collects parked messages. Raises BusError."""
    newest: dict[str, tuple[int, Event]] = {}
    async for _, messages in read_once(store, (Read(role, under),), "status", flaws):
        for message in messages:
            if event := flaws.read(message, role):
                newest[message.subject] = message.stored, event
    return list(newest.values())


async def _late(store: Store, covers: list[int], before: int) -> list[int]:
    """The reported sequences that miss a map event older than `before`. `covers`: sorted sequences of IPAM;
    `before`: µs since the epoch. If a sequence misses such an event, all lower ones do: so a binary search
    needs few requests. Raises BusError."""
    low, high = 0, len(covers)
    while low < high:
        middle = (low + high) // 2
        missed = await store.next(IPAM, covers[middle], "ipam.map.>")
        if missed and missed.stored <= before:
            low = middle + 1
        else:
            high = middle
    return covers[:low]


def _report(event: Applied | ApplyFailed | Wired, time: int, end: int, answers: bool) -> dict[str, Any]:
    """A report as JSON. `answers`: the agent gave it when it was asked; else it was stored at `time`.
    `behind`: the number of events of the stream IPAM between the sequence that it covers and the newest event
    of the map (`end`); a Wired report covers only the node's own addresses, so it has none."""
    common = {
        "consumer": event.consumer, "type": type(event).__name__, "time": time, "covers": event.covers,
        "answers": answers,
    }  # fmt: skip
    match event:
        case Wired():
            return common | {"addresses": len(event.addresses)}
        case ApplyFailed():
            return common | {"behind": _behind(event, end), "error": event.error, "attempt": event.attempt}
    numbers = {"changes": event.changes, "took": event.took, "standing": event.standing}
    numbers["refused"] = event.refused
    return common | {"behind": _behind(event, end)} | numbers


def _behind(event: Applied | ApplyFailed, end: int) -> int:
    return max(0, end - event.covers[IPAM]) if IPAM in event.covers else 0


def trouble(node: dict[str, Any], now: int) -> list[str]:
    """The problems of a node that a person has to resolve."""
    if not (node["placed"] or node["blocks"] or node["unknown"]):
        return []
    reports = node["reports"]
    told = [f"{text}: see `romana-bus ipam check`" for text in node["overlaps"][:1]]
    told += [node["lacks"]] if node["lacks"] else []
    if not reports:
        told += node["problems"]
        return told if node["uninstalled"] else [*told, "no report"]
    problems = [
        f"{report['consumer']}: {report['error']} (attempt {report['attempt']})"
        for report in reports
        if report["type"] == "ApplyFailed"
    ]
    if node["unknown"]:
        problems.append("the log knows no node of this name: is it the node's name in Kubernetes?")
    problems += [*told, *node["problems"], *(() if node["older"] else _overdue(reports, now))]
    if cut := sum(_numbers(report).get(CUT_OFF, 0) for report in reports):
        problems.append(
            f"{console.many(cut, 'block')} cannot be reached: of nodes in its group that are not on-link"
        )
    problems += [_refused(report) for report in reports if _numbers(report).get(REFUSED, 0)]
    return problems


def _reports_unasked(reports: list[dict[str, Any]], now: int) -> bool:
    """Whether an agent does not answer, and reports its routes all the same."""
    newest = max((report["time"] for report in reports if report["type"] != "Wired"), default=0)
    return now - newest < OLDER_REPORTS and not any(report["answers"] for report in reports)


def _refused(report: dict[str, Any]) -> str:
    """The routes that a node does not install, by prefix."""
    count, refused = _numbers(report)[REFUSED], [*report["refused"].items()][:NAMED]
    named = "; ".join(f"{prefix}: {why}" for prefix, why in refused)
    more = f"; and {count - len(refused)} more" if count > len(refused) else ""
    what = console.many(count, "route")
    return f"{what} refused, to keep what the node lives on: {named}{more}"


def _overdue(reports: list[dict[str, Any]], now: int) -> Iterable[str]:
    """Problems of an agent that does not answer, or has not read what it should have."""
    if all(report["type"] == "Wired" for report in reports):
        yield "no report of its routes"
    if not any(report["answers"] for report in reports):
        newest = max(report["time"] for report in reports)
        yield f"its agent does not answer; its last report is {console.lasting(max(0, now - newest))} old"
        return
    for report in reports:
        if not report["answers"]:
            age = console.lasting(max(0, now - report["time"]))
            yield f"{report['consumer']}: does not answer; its last report is {age} old"
        elif report.get("late"):
            what = f"has not read events that are {LATE // SECOND} s old"
            yield f"{report['consumer']}: {what}: is it cut off from the log?"


# --- for people ------------------------------------------------------------------------------------------


def print_nodes(nodes: list[dict[str, Any]]) -> None:
    """Print the nodes; if there are many, only those with trouble."""
    print_unplaced([(node["node"], node["denied"]) for node in nodes if node["denied"]], every=False)
    placed = [node for node in nodes if node["placed"] or node["blocks"] or node["unknown"]]
    if not placed:
        console.section("nodes", "no node has a place in the topology")
        return
    if not any(node["reports"] for node in placed):
        text = f"no reports of {console.many(len(placed), 'node')}: `romana-bus agent` runs on none of them"
        console.section("nodes", Text(text, "yellow"))
        return
    few = len(placed) <= console.ROWS
    shown, more = console.first([node for node in placed if few or node["trouble"]], few)
    table = console.table("node", "reconciler", "reported", "behind", "result", right=("behind",))
    for node in shown:
        for row in _rows(node):
            table.add_row(*row)
    lines = [table] if table.row_count else []
    console.section("nodes", *lines, *console.and_more(more, "--json has all"), *_summary(placed))


def _rows(node: dict[str, Any]) -> Iterable[tuple[str | Text, ...]]:
    name = node["node"]
    for report in node["reports"]:
        behind = f"by {console.count(report['behind'])}" if report.get("behind") else ""
        yield (
            name,
            report["consumer"],
            console.when(report["time"]),
            Text(behind, "yellow"),
            _standing(report),
        )
        name = ""
    if node["older"]:
        text = "its agent is of an older version: it reports, and does not answer"
        yield name, "", "", "", console.dim(text)
        name = ""
    if node["uninstalled"]:
        yield name, "", "", "", console.dim("its agent was uninstalled")
        name = ""
    failed = sum(report["type"] == "ApplyFailed" for report in node["reports"])  # they are in their rows
    for text in node["trouble"][failed:]:
        yield name, "", "", "", Text(text, "red")
        name = ""
    for text in node["notes"]:
        yield name, "", "", "", Text(text, "yellow")
        name = ""


def _standing(report: dict[str, Any]) -> Text:
    if report["type"] == "ApplyFailed":
        return Text(f"{report['error']} (attempt {report['attempt']})", "red")
    if report["type"] == "Wired":
        return Text(f"{console.many(report['addresses'], 'address', 'addresses')} wired to pods")
    return Text(event_text.numbers(report["standing"]) or console.many(report["changes"], "change"))


def _summary(placed: list[dict[str, Any]]) -> list[Text]:
    """One line about all nodes, and lines about blocks that are reached by the default route."""
    reports = [report for node in placed for report in node["reports"]]
    wrong = sum(bool(node["trouble"]) for node in placed)
    routes = sum(report.get("standing", {}).get("routes", 0) for report in reports)
    wired = sum(report.get("addresses", 0) for report in reports)
    nodes, wired_now = console.many(len(placed), "node"), console.many(wired, "address", "addresses")
    line = f"{nodes}: {console.many(routes, 'route')}, {wired_now} wired"
    lines = [
        Text.assemble(f"{line}; ", (f"{wrong:,} with trouble", "red") if wrong else ("no trouble", "green"))
    ]
    standings = map(_numbers, reports)
    views = Counter((standing.get(BY_DEFAULT, 0), standing.get(OFF_LINK, 0)) for standing in standings)
    views.pop((0, 0), None)
    for (blocks, hosts), count in sorted(views.items(), key=lambda view: (-view[1], view[0]))[:VIEWS]:
        what = f"{console.many(blocks, 'block')} of {console.many(hosts, 'host')}"
        are = "is" if blocks == 1 else "are"
        lines.append(
            console.dim(
                f"{what} {are} reached by the default route (not on-link), from {console.many(count, 'node')}"
            )
        )
    return lines


def _numbers(report: dict[str, Any]) -> dict[str, int]:
    standing: dict[str, int] = report.get("standing", {})
    return standing
