"""Label and field selectors: read as Kubernetes reads them, refused in its words, matched with objects. Pure.

Labels: apimachinery, pkg/labels/selector.go. Fields: pkg/fields/selector.go, and which fields a kind has:
pkg/apis/core/v1/conversion.go; other kinds have only name and namespace.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.lab.kubeapi.status import bad_request

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_WORD = re.compile(r"\s*(==|!=|[=!<>(),]|[^\s=!<>(),]+)")

#: The fields that these kinds can be selected by, beside metadata.name (and metadata.namespace).
_FIELDS = {
    "Pod": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "Node": ("spec.unschedulable",),
    "Namespace": ("status.phase",),
}

#: What an absent field of Go's type bool is.
_FALSE = ("spec.unschedulable", "spec.hostNetwork")


class Requirement(NamedTuple):
    """One condition on a label, or on a field (then with = and != only)."""

    key: str
    operator: str  # in, notin, exists, !, gt, lt
    values: tuple[str, ...] = ()

    def met(self, value: str | None) -> bool:
        """`value` is None where the object has no such label."""
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return self._compared(value)

    def _compared(self, value: str | None) -> bool:
        try:
            found, bound = int(value or ""), int(self.values[0])
        except ValueError:
            return False
        return found > bound if self.operator == "gt" else found < bound


class Selection(NamedTuple):
    """Which objects are meant; without any requirement all are."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.fields)

    def matches(self, item: Json) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all(one.met(labels.get(one.key)) for one in self.labels) and all(
            one.met(field_of(item, one.key)) for one in self.fields
        )


ALL = Selection()


def selection(call: Call) -> Selection:
    """What `call` selects. Raises Refused (400)."""
    labels, fields = call.query.get("labelSelector", ""), call.query.get("fieldSelector", "")
    if not (labels or fields):
        return ALL
    return Selection(read_labels(labels), read_fields(fields, call.resource))


def field_of(item: Json, path: str) -> str:
    """'' where it is absent, as Go has it."""
    value: Any = item
    for part in path.removesuffix("IPs").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value or ("false" if path in _FALSE else ""))


def read_fields(text: str, resource: Resource) -> tuple[Requirement, ...]:
    """`a=b,c!=d`, with backslashes before commas, equal signs and backslashes that are meant."""
    terms = [term for term in re.split(r"(?<!\\),", text) if term]
    return tuple(_field(term, resource) for term in terms)


def _field(term: str, resource: Resource) -> Requirement:
    parts = re.fullmatch(r"(?s)(.*?)(!=|==|=)(.*)", term)
    if parts is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    field, operator, value = parts.groups()
    common = ("metadata.name", "metadata.namespace") if resource.namespaced else ("metadata.name",)
    own = _FIELDS.get(resource.kind)
    if own is None and field not in ("metadata.name", "metadata.namespace"):
        only = '"metadata.name", "metadata.namespace"'
        raise bad_request(f'"{field}" is not a known field selector: only {only}')
    if own is not None and field not in (*common, *own):
        raise bad_request(f"field label not supported: {field}")
    plain = re.sub(r"\\([\\,=])", r"\1", value)
    return Requirement(field, "notin" if operator == "!=" else "in", (plain,))


def read_labels(text: str) -> tuple[Requirement, ...]:
    """`a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`."""
    return tuple(_Labels(_WORD.findall(text)).read())


class _Labels:
    """A label selector's words, from the left."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self._at = 0

    def read(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self._peek():
            if self._peek() != "!" and not _identifier(self._peek()):
                raise _unexpected(self._peek(), "!, identifier, or 'end of string'")
            found.append(self._requirement())
            if (word := self._take()) not in ("", ","):
                raise _unexpected(word, "',' or 'end of string'")
            if word and self._peek() != "!" and not _identifier(self._peek()):
                raise _unexpected(self._peek(), "identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._take()
            return Requirement(self._key(), "!")
        key = self._key()
        if self._peek() in ("", ","):
            return Requirement(key, "exists")
        match operator := self._take():
            case "in" | "notin":
                return Requirement(key, operator, self._values())
            case "=" | "==":
                return Requirement(key, "in", (self._value(),))
            case "!=":
                return Requirement(key, "notin", (self._value(),))
            case ">" | "<":
                return Requirement(key, "gt" if operator == ">" else "lt", (self._value(),))
        raise _unparsed(f"found '{operator}', expected: {', '.join(_OPERATORS)}")

    def _key(self) -> str:
        word = self._take()
        if not _identifier(word):
            raise _unparsed(f"found '{word}', expected: identifier")
        return word

    def _value(self) -> str:
        """It may be empty."""
        return self._take() if _identifier(self._peek()) else ""

    def _values(self) -> tuple[str, ...]:
        if (word := self._take()) != "(":
            raise _unparsed(f"found '{word}' expected: '('")
        values = [self._value()]
        while (word := self._take()) == ",":
            values.append(self._value())
        if word != ")":
            raise _unparsed(f"found '{word}', expected: ',' or ')'")
        return tuple(sorted(set(values)))

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def _take(self) -> str:
        word = self._peek()
        self._at += 1
        return word


def _identifier(word: str) -> bool:
    return bool(word) and word[0] not in "=!<>(),"


def _unexpected(found: str, expected: str) -> Exception:
    return bad_request(f"found '{found}', expected: {expected}")


def _unparsed(why: str) -> Exception:
    return bad_request(f"unable to parse requirement: {why}")
