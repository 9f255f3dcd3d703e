"""One page of a list (metav1.List): its objects, its version, and where the next page begins. Pure."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from romana_bus.lab.kubeapi.read.continuation import continue_token, read_continue_token
from romana_bus.lab.kubeapi.read.selectors import selection
from romana_bus.lab.kubeapi.status import bad_request, expired_list, expired_page, too_large_version
from romana_bus.lab.kubeapi.store import Compacted
from romana_bus.lab.kubeapi.table import Snapshot

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.read.selectors import Selection
    from romana_bus.lab.kubeapi.read.views import View
    from romana_bus.lab.kubeapi.store import Store


class _From(NamedTuple):
    """Where a page begins: at the first key not below `start`. `paged`: whether it is not the first page."""

    version: int
    start: str = ""
    paged: bool = False


class Page(NamedTuple):
    """One page. `rest`: the number of objects on later pages; if it is not 0, `after` is the last key of this
    page, and `counted` says whether clients get that number."""

    version: int
    raws: list[bytes]
    rest: int
    after: str
    counted: bool = True


def page(store: Store, call: Call) -> Page:
    """The page that `call` asks for. Raises Refused: 400, 410 and 504 as the API server does."""
    chosen = selection(call)
    begin = _begin(store, call)
    if begin.version > store.version:
        raise too_large_version(begin.version, store.version)
    try:
        snapshot = shown(store, call, chosen, begin.version)
    except Compacted:
        again = continue_token(-1, f"/{begin.start}")
        raise (expired_page(again) if begin.paged else expired_list()) from None
    # With a selector the real server stops reading at the end of the page, so it does not know the rest.
    cut = _cut(snapshot, begin, call.prefix, call.number("limit"))
    return cut._replace(counted=not chosen)


def shown(store: Store, call: Call, chosen: Selection, version: int) -> Snapshot:
    """The objects that `call` selects, at `version`. Raises Compacted."""
    snapshot = store.snapshot(call.resource, version).under(call.prefix)
    return selected(snapshot, chosen) if chosen else snapshot


def selected(snapshot: Snapshot, chosen: Selection) -> Snapshot:
    """The objects that `chosen` selects."""
    both = zip(snapshot.keys, snapshot.raws, strict=True)
    kept = [(key, raw) for key, raw in both if chosen.matches(msgspec.json.decode(raw))]
    return Snapshot([key for key, _ in kept], [raw for _, raw in kept])


def _begin(store: Store, call: Call) -> _From:
    asked = call.query.get("resourceVersion", "")
    version = call.number("resourceVersion")
    if token := call.query.get("continue"):
        if asked not in ("", "0"):
            raise bad_request("specifying resource version is not allowed when using continue")
        at, start = read_continue_token(token)
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


def list_body(store: Store, call: Call, view: View) -> bytes:
    """The body of a list, with its newline. Raises what `page` raises."""
    current = page(store, call)
    return view.listed(current.raws, _metadata(current)) + b"\n"


def _metadata(listed: Page) -> bytes:
    metadata: dict[str, str | int] = {"resourceVersion": str(listed.version)}
    if listed.rest:
        # the key right behind the last one, as etcd orders them
        metadata["continue"] = continue_token(listed.version, f"/{listed.after}\0")
        if listed.counted:
            metadata["remainingItemCount"] = listed.rest
    return msgspec.json.encode(metadata)
