"""Lists a resource once, consistently, for audits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from romana_bus.errors import Failed
from romana_bus.kubernetes.api import NETWORK_ERRORS, read, reason
from romana_bus.producers.kubernetes.responses import classify

if TYPE_CHECKING:
    from romana_bus.events import Fact
    from romana_bus.kubernetes.api import Api
    from romana_bus.producers.kubernetes.objects import Kind

#: Limits: objects on one page; seconds without a byte; objects of one list.
PAGE, SILENCE, MOST = 500, 30.0, 5_000_000


async def listed(api: Api, kind: Kind) -> tuple[list[Fact], str]:
    """All objects as facts, and the version of the list. Read from the server's store, not from its cache,
    which may be behind. Raises Failed."""
    facts: list[Fact] = []
    following, renewed = "", False
    while True:
        query = {"limit": str(PAGE)} | ({"continue": following} if following else {})
        generation = api.generation
        try:
            async with await api.get(kind.path, query, SILENCE) as answer:
                body = await read(answer)
        except NETWORK_ERRORS as error:
            raise Failed(f"{kind.name} cannot be listed: {reason(error)}") from None
        if answer.status == 401 and not renewed:
            renewed = True
            await api.renew(generation)
            continue
        if answer.status != 200:
            why = classify(answer.status, answer.headers, body, kind, "list").why
            raise Failed(f"{kind.name} cannot be listed: {why}")
        try:
            page = kind.pages.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Failed(f"{kind.name} cannot be listed: {error}") from None
        facts += [kind.seen(item, 0) for item in page.items or ()]
        before, following = following, page.metadata.continue_
        if not following:
            return facts, page.metadata.resource_version
        if following == before or len(facts) > MOST:
            raise Failed(f"{kind.name} cannot be listed: the list goes on for ever")
