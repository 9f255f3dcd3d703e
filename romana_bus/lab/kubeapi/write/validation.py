"""Validates objects, with Kubernetes's error texts: only what storing, showing or scheduling needs. Pure.

(apimachinery, pkg/util/validation; kubernetes, pkg/apis/core/validation)
"""

from __future__ import annotations

import re
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from romana_bus.lab.kubeapi.shapes import misshapen
from romana_bus.lab.kubeapi.status import Cause, bad_request, invalid

if TYPE_CHECKING:
    from romana_bus.lab.kubeapi.resources import Resource

Json = dict[str, Any]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LONGEST_NAME = 253

_BAD_NAME = (
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
    """Raises Refused (400) if a field has a wrong type."""
    if why := misshapen(resource, item):
        kind = resource.kind
        raise bad_request(
            f'{kind} in version "{resource.version}" cannot be handled as a {kind}: json: {why}'
        )


def check_new(resource: Resource, item: Json) -> None:
    """Raises Refused (422) if the new object is invalid."""
    name = item["metadata"]["name"]
    causes = []
    if len(name) > _LONGEST_NAME or not re.fullmatch(_SUBDOMAIN, name):
        causes.append(Cause("Invalid", "metadata.name", _BAD_NAME, name))
    if resource.kind == "Pod" and not (item.get("spec") or {}).get("containers"):
        causes.append(Cause("Required", "spec.containers"))
    if causes:
        raise invalid(resource, name, causes)


def check_change(resource: Resource, old: Json, new: Json) -> None:
    """Raises Refused (422) if an immutable field of an existing pod would change."""
    if resource.kind == "Pod" and _fixed(old) != _fixed(new):
        raise invalid(resource, new["metadata"]["name"], [Cause("Forbidden", "spec", _FIXED)])


def _fixed(pod: Json) -> Json:
    """The immutable part of a pod's spec."""
    spec = deepcopy(pod.get("spec") or {})
    for field in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"):
        spec.pop(field, None)
    for containers in ("containers", "initContainers"):
        for container in spec.get(containers) or []:
            container.pop("image", None)
    return spec
