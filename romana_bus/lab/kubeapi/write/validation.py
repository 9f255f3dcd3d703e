"""What Kubernetes does not take, in its own words: as much of it as users would run into. Pure.

(apimachinery, pkg/util/validation; kubernetes, pkg/apis/core/validation)
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi.shapes import misshapen
from romana_bus.lab.kubeapi.status import Cause, invalid
from romana_bus.lab.kubeapi.write.fields import check_texts, undecodable

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"

_NO_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    f"'{_LABEL}')"
)
_NO_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    f"'{_SUBDOMAIN}')"
)
_FIXED = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def check_form(resource: Resource, item: Json) -> None:
    """Raises Refused (400) where something is of another type than it has to be; before anything is read."""
    check_texts(resource, item)
    if why := misshapen(resource, item):
        raise undecodable(resource, f"json: {why}")


def check_new(resource: Resource, item: Json) -> None:
    """Raises Refused (422)."""
    causes = _name(resource, item["metadata"]["name"])
    if resource.kind == "Pod":
        causes += _containers(item.get("spec") or {})
    if causes:
        raise invalid(resource, item["metadata"]["name"], causes)


def check_change(resource: Resource, old: Json, new: Json) -> None:
    """Raises Refused (422)."""
    causes = _containers(new.get("spec") or {}) if resource.kind == "Pod" else []
    if resource.kind == "Pod" and not causes and _fixed(old) != _fixed(new):
        causes = [Cause("Forbidden", "spec", _FIXED)]
    if causes:
        raise invalid(resource, new["metadata"]["name"], causes)


def _name(resource: Resource, name: str) -> list[Cause]:
    pattern, why, most = (_LABEL, _NO_LABEL, 63) if resource.kind == "Namespace" else (_SUBDOMAIN, "", 253)
    causes = []
    if len(name) > most:
        causes.append(Cause("Invalid", "metadata.name", f"must be no more than {most} bytes", name))
    if not re.fullmatch(pattern, name):
        causes.append(Cause("Invalid", "metadata.name", why or _NO_SUBDOMAIN, name))
    return causes


def _containers(spec: Json) -> list[Cause]:
    containers = spec.get("containers")
    if not isinstance(containers, list) or not containers:
        return [Cause("Required", "spec.containers")]
    causes, names = [], set()
    for place, one in enumerate(containers):
        field = f"spec.containers[{place}]"
        name = one.get("name") if isinstance(one, dict) else None
        if not name:
            causes.append(Cause("Required", f"{field}.name"))
        elif not re.fullmatch(_LABEL, name) or len(name) > 63:
            causes.append(Cause("Invalid", f"{field}.name", _NO_LABEL, name))
        elif name in names:
            causes.append(Cause("Duplicate", f"{field}.name", value=name))
        names.add(name)
        if isinstance(one, dict) and not one.get("image"):
            causes.append(Cause("Required", f"{field}.image"))
    return causes


def _fixed(pod: Json) -> Json:
    """What of a pod's spec stays as it was created."""
    spec = deepcopy(pod.get("spec") or {})
    for field in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"):
        spec.pop(field, None)
    for containers in ("containers", "initContainers"):
        for one in spec.get(containers) or []:
            one.pop("image", None)
    return spec
