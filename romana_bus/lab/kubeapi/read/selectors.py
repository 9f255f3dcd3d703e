"""Label and field selectors: parses them as Kubernetes does, and matches objects. Pure.

Labels: apimachinery, pkg/labels/selector.go. Fields: pkg/fields/selector.go; the fields of each kind:
pkg/apis/core/v1/conversion.go. Other kinds have only name and namespace.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from romana_bus.lab.kubeapi.status import bad_request

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.calls import Call
    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

#: One requirement of a label selector. Keys and values are not validated further.
_WORD = r"[^\s=!<>(),]"
_REQUIREMENT = re.compile(
    rf"\s*(?:!\s*(?P<absent>{_WORD}+)|(?P<key>{_WORD}+)"
    rf"(?:\s*(?P<operator>==|=|!=|<|>)\s*(?P<value>{_WORD}*)|\s+(?P<set>in|notin)\s*\((?P<values>[^=!<>()]*)\))?)\s*"
)
_COMPARED = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}

#: The selectable fields of these kinds, besides metadata.name (and metadata.namespace).
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

#: Fields of Go's type bool, whose value is "false" if absent.
_FALSE = ("spec.unschedulable", "spec.hostNetwork")


class Requirement(NamedTuple):
    """One condition on a label, or on a field (only = and !=)."""

    key: str
    operator: str  # in, notin, exists, !, gt, lt
    values: tuple[str, ...] = ()

    def met(self, value: str | None) -> bool:
        """Whether the value meets the condition. `value`: None if the object has no such label."""
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
    """The requirements that an object has to meet; without any, all objects are selected."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.labels or self.fields)

    def matches(self, item: Json) -> bool:
        labels = item["metadata"].get("labels") or {}
        return all(wanted.met(labels.get(wanted.key)) for wanted in self.labels) and all(
            wanted.met(field_of(item, wanted.key)) for wanted in self.fields
        )


ALL = Selection()


def selection(call: Call) -> Selection:
    """The selection of `call`. Raises Refused (400)."""
    labels, fields = call.query.get("labelSelector", ""), call.query.get("fieldSelector", "")
    if not (labels or fields):
        return ALL
    return Selection(read_labels(labels), read_fields(fields, call.resource))


def field_of(item: Json, path: str) -> str:
    """The value of a field as text; '' if it is absent, as in Go."""
    value: Any = item
    for part in path.removesuffix("IPs").split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value or ("false" if path in _FALSE else ""))


def read_fields(text: str, resource: Resource) -> tuple[Requirement, ...]:
    """The requirements of `a=b,c!=d`. A backslash escapes ',', '=' and itself. Raises Refused (400)."""
    terms = [term for term in re.split(r"(?<!\\),", text) if term]
    return tuple(_field(term, resource) for term in terms)


def _field(term: str, resource: Resource) -> Requirement:
    parts = re.fullmatch(r"(?s)(.*?)(!=|==|=)(.*)", term)
    if parts is None:
        raise bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    field, operator, value = parts.groups()
    common = ("metadata.name", "metadata.namespace") if resource.namespaced else ("metadata.name",)
    if field not in (*common, *_FIELDS.get(resource.kind, ())):
        raise bad_request(f"field label not supported: {field}")
    plain = re.sub(r"\\([\\,=])", r"\1", value)
    return Requirement(field, "notin" if operator == "!=" else "in", (plain,))


def read_labels(text: str) -> tuple[Requirement, ...]:
    """The requirements of `a=b,c!=d,e in (f,g),h notin (i),j,!k,l>1`. Raises Refused (400)."""
    if not text.strip():
        return ()
    return tuple(
        _requirement(part) for part in re.split(r",(?![^(]*\))", text)
    )  # not at commas in parentheses


def _requirement(text: str) -> Requirement:
    parts = _REQUIREMENT.fullmatch(text)
    if parts is None:
        raise bad_request(f"unable to parse requirement: '{text}'")
    if parts["absent"]:
        return Requirement(parts["absent"], "!")
    if parts["set"]:
        values = {value.strip() for value in parts["values"].split(",")}
        return Requirement(parts["key"], parts["set"], tuple(sorted(values)))
    if parts["operator"]:
        return Requirement(parts["key"], _COMPARED[parts["operator"]], (parts["value"],))
    return Requirement(parts["key"], "exists")
