"""Asks the API server what the watcher asks it: may these credentials list and watch? And audits
addresses."""

from __future__ import annotations

import email.utils
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.bus import clock
from romana_bus.cli.doctor import facts
from romana_bus.cli.doctor.gather.context import NotSeen
from romana_bus.cli.ipam.check import check_twice
from romana_bus.events.base import SECOND
from romana_bus.ipam.audit import unsettled
from romana_bus.kubernetes.status import read_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from romana_bus.cli.doctor.gather.context import Context
    from romana_bus.producers.kubernetes.objects import Kind


class Answer(NamedTuple):
    """To one request. `trouble`: why there was none, or ''. `ahead`: seconds by which this machine's clock is
    ahead of the server's, None if it did not say."""

    kind: Kind
    status: int = 0
    said: str = ""
    trouble: str = ""
    ahead: float | None = None


async def answers(context: Context) -> list[Answer]:
    """A list and a watch of each resource that the watcher needs, until the server does not answer; asked
    once. Raises NotSeen."""
    found: list[Answer] = await context.once("api", lambda: _answers(context.api, context.wanted.kinds))
    return found


async def _answers(api: Any, kinds: Iterable[Kind]) -> list[Answer]:
    from romana_bus.kubernetes.api import CONNECT_WITHIN, NETWORK_ERRORS, read, reason

    found: list[Answer] = []
    for kind in kinds:
        for query in ({"limit": "1"}, {"watch": "true", "timeoutSeconds": "1", "resourceVersion": "0"}):
            before = clock.wall()
            try:
                async with await api.get(kind.path, query, CONNECT_WITHIN) as answer:
                    # Of a watch only the status is read: the events are not of interest.
                    body = b"" if answer.status == 200 else await read(answer, most=1 << 20, within=30.0)
            except NETWORK_ERRORS as error:
                return [*found, Answer(kind, trouble=reason(error))]
            said = "" if answer.status == 200 else read_status(answer.status, body).message
            found.append(Answer(kind, answer.status, said, ahead=_ahead(answer.headers, before)))
    return found


def _ahead(headers: Mapping[str, str], before: int) -> float | None:
    """By the header Date, which has whole seconds. `before`: when the request was sent (µs)."""
    try:
        date = email.utils.parsedate_to_datetime(headers["Date"])
    except (KeyError, ValueError):
        return None
    return least(before / SECOND - date.timestamp() - 1.0, clock.wall() / SECOND - date.timestamp())


def least(low: float, high: float) -> float:
    """The smallest difference between two bounds: how long an answer took is not known of each way."""
    return max(low, 0.0) + min(high, 0.0)


async def api_server(context: Context) -> facts.ApiServer:
    """Raises NotSeen if no API server was named, and there are no credentials."""
    from romana_bus.producers.kubernetes.responses import SAID, rule

    wanted = context.wanted
    if context.no_api and wanted.target_named:
        return facts.ApiServer("", context.no_api)
    given, where = await answers(context), context.api.server
    if trouble := next((each.trouble for each in given if each.trouble), ""):
        return facts.ApiServer(where, trouble)
    others = [each for each in given if each.status not in (200, 403)]
    if others:
        return facts.ApiServer(where, f"{where} answers HTTP {others[0].status}: {others[0].said[:SAID]}")
    refused = [each for each in given if each.status == 403]
    return facts.ApiServer(
        where,
        rules=tuple(dict.fromkeys(rule(each.kind) for each in refused)),
        said=refused[0].said[:SAID] if refused else "",
        resources=tuple(dict.fromkeys(each.kind.name for each in given)),
    )


async def addresses(context: Context) -> facts.Addresses:
    """Audit twice, as `ipam check` does. Raises NotSeen, BadInput, Failed, BusError."""
    store, api = context.store, context.api
    if any(each.trouble for each in await answers(context)):
        raise NotSeen("the API server does not answer")
    observed, lasting, _ = await check_twice(store, api, context.wanted.pause)
    kernels = {report.node for report in observed.wired}
    return facts.Addresses(
        len(observed.snapshot.nodes),
        len(observed.snapshot.pods),
        len(kernels),
        tuple(lasting),
        unsettled(observed.state),
    )
