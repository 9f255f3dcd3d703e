"""Classifies answers of the API server: what a watcher does next. Pure.

Sources: the Kubernetes API concepts page (watch, 410 Gone, bookmarks, streaming lists) and metav1.Status;
`recordings/answers.jsonl` contains answers of a real server.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from romana_bus.kubernetes.status import read_status

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from romana_bus.producers.kubernetes.objects import Kind

#: The most characters of an answer's text that are kept.
SAID = 500


class Action(Enum):
    """What a watcher does after an answer."""

    RETRY = "retry"  # repeat the request, later
    RELIST = "relist"  # list again: the position of the watch is too old
    RENEW = "renew"  # load the credentials again
    REFUSED = "refused"  # report it: only a person can change it
    PAGES = "pages"  # list in pages: the server has no streaming list


class Verdict(NamedTuple):
    """The action after an answer, and why. `after`: seconds that the server asked us to wait, or 0."""

    do: Action
    why: str
    after: float = 0.0


def classify(code: int, headers: Mapping[str, str], body: bytes, kind: Kind, verb: str) -> Verdict:
    """The verdict on an answer that is not 200, or on the Status in a watch's ERROR event (`code` 0)."""
    status = read_status(code, body)
    code, said = status.code, status.message[:SAID]
    match code:
        case 410:
            return Verdict(Action.RELIST, said)
        case 401:
            return Verdict(Action.RENEW, said)
        case 403:
            return Verdict(Action.REFUSED, f"{said}. {allow([rule(kind)])}")
        case 404:
            return Verdict(
                Action.REFUSED, f"the API server has no resource {kind.name} ({kind.path}): {said}"
            )
        case 405:
            return Verdict(Action.REFUSED, f"{kind.name} cannot be watched, only listed: {said}")
        case 400 | 422 if verb == "streaming list":
            return Verdict(Action.PAGES, said)
        case 400:
            return Verdict(Action.RELIST, said)  # a continue token that it cannot read
        case 504 if "resource version" in said.lower():
            return Verdict(Action.RETRY, said, 1.0)  # the server is behind, and will catch up
        case _:
            return Verdict(Action.RETRY, f"HTTP {code}: {said}", _seconds(headers.get("Retry-After", "")))


def rule(kind: Kind) -> str:
    """The RBAC rule (rbac.authorization.k8s.io/v1, ClusterRole.rules) that a watcher needs, in one line."""
    return f'{{apiGroups: ["{kind.group}"], resources: ["{kind.plural}"], verbs: ["list", "watch"]}}'


def allow(rules: Sequence[str]) -> str:
    """What to do about rules that are missing."""
    return f"Allow it with {'this rule' if len(rules) == 1 else 'these rules'}: {', '.join(rules)}"


def _seconds(retry_after: str) -> float:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3), at most 300. The API server never sends a date."""
    usable = len(retry_after) <= 9 and retry_after.isascii() and retry_after.isdecimal()
    return min(float(retry_after), 300.0) if usable else 0.0


class _Verbs(msgspec.Struct):
    name: str = ""
    verbs: list[str] = []


class _Resources(msgspec.Struct):
    """metav1.APIResourceList: what a group and version serves."""

    resources: list[_Verbs] = []


def unwatchable(body: bytes, kind: Kind) -> str:
    """Why a resource cannot be watched, or ''. `body`: the API server's list of resources (`kind.path`
    without its last part)."""
    try:
        served = msgspec.json.decode(body, type=_Resources).resources
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    verbs = next((resource.verbs for resource in served if resource.name == kind.plural), None)
    if verbs is None or {"list", "watch"} <= set(verbs):
        return ""
    return f"{kind.name} cannot be watched: the API server only offers {', '.join(verbs)[:SAID]} for it"
