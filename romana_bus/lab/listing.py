"""One page of a list (metav1.List): which objects, at which version, and where the next page begins. Pure."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from romana_bus.lab import wire
from romana_bus.lab.status import bad_request, expired_list, expired_page, too_large_version
from romana_bus.lab.store import Compacted

if TYPE_CHECKING:
    from romana_bus.lab.calls import Call
    from romana_bus.lab.store import Snapshot, Store


class _From(NamedTuple):
    """Where a page begins: at the first key not below `start`, `paged` if an earlier page led here."""

    version: int
    start: str = ""
    paged: bool = False


class Page(NamedTuple):
    """`rest`: how many objects are left for later pages; then `after` is the last key of this one."""

    version: int
    raws: list[bytes]
    rest: int
    after: str


def page(store: Store, call: Call) -> Page:
    """The page that `call` asks for. Raises Refused: 400, 410 and 504 as the API server does."""
    begin = _begin(store, call)
    if begin.version > store.version:
        raise too_large_version(begin.version, store.version)
    try:
        snapshot = store.snapshot(call.resource, begin.version).under(call.prefix)
    except Compacted:
        again = wire.continue_token(-1, begin.start)
        raise (expired_page(again) if begin.paged else expired_list()) from None
    return _cut(snapshot, begin, call.prefix, call.number("limit"))


def _begin(store: Store, call: Call) -> _From:
    asked = call.query.get("resourceVersion", "")
    version = call.number("resourceVersion")
    if token := call.query.get("continue"):
        if asked not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        at, start = wire.read_continue_token(token)
        return _From(store.version if at < 0 else at, start, paged=True)
    match = call.query.get("resourceVersionMatch")
    if version and (match == "Exact" or (not match and call.number("limit"))):
        return _From(version)  # without a match, `limit` has always meant exactly this version
    return _From(max(version, store.version))


def _cut(snapshot: Snapshot, begin: _From, prefix: str, limit: int) -> Page:
    first = bisect_left(snapshot.keys, prefix + begin.start)
    last = min(first + limit, len(snapshot.keys)) if limit else len(snapshot.keys)
    after = snapshot.keys[last - 1].removeprefix(prefix) if last > first else ""
    return Page(begin.version, list(snapshot.raws[first:last]), len(snapshot.keys) - last, after)


def list_body(store: Store, call: Call) -> bytes:
    """The answer to a list, with its newline. Raises what `page` raises."""
    found = page(store, call)
    resource = call.resource
    if call.partial:
        items = [wire.metadata_only(raw) for raw in found.raws]
        kind, api_version = "PartialObjectMetadataList", "meta.k8s.io/v1"
    else:
        items = [wire.list_item(resource, raw) for raw in found.raws]
        kind, api_version = f"{resource.kind}List", resource.api_version
    return b'{"kind":"%s","apiVersion":"%s","metadata":%s,"items":[%s]}\n' % (
        kind.encode(),
        api_version.encode(),
        _metadata(found),
        b",".join(items),
    )


def _metadata(found: Page) -> bytes:
    metadata: dict[str, str | int] = {"resourceVersion": str(found.version)}
    if found.rest:
        # the key right behind the last one, as etcd orders them
        metadata["continue"] = wire.continue_token(found.version, f"/{found.after}\0")
        metadata["remainingItemCount"] = found.rest
    return msgspec.json.encode(metadata)
