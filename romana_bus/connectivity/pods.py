"""How far a probe's pod has come, and why it does not run, from its object in the API. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from romana_bus.connectivity.choice import Condition, Metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Reasons of a container that mean that no pod of this test can run: the image, or its shell.
_BAD_IMAGE = (
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RegistryUnavailable",
    "SignatureValidationFailed",
    "ContainerCannotRun",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "StartError",
)
#: Reasons that only say that it takes its time.
_USUAL = ("ContainerCreating", "PodInitializing", "Completed", "Error")


class _Reason(msgspec.Struct):
    reason: str = ""
    message: str = ""


class _State(msgspec.Struct):
    waiting: _Reason | None = None
    terminated: _Reason | None = None


class _Container(msgspec.Struct):
    state: _State = msgspec.field(default_factory=_State)


class _Address(msgspec.Struct):
    ip: str = ""


class _Status(msgspec.Struct):
    phase: str = ""
    reason: str = ""
    message: str = ""
    podIPs: list[_Address] | None = None
    conditions: list[Condition] | None = None
    containerStatuses: list[_Container] | None = None


class PodObject(msgspec.Struct):
    """The fields of a Pod that are used."""

    metadata: Metadata
    status: _Status = msgspec.field(default_factory=_Status)


class Progress(NamedTuple):
    """`phase`: of the pod. `addresses`: its own. `why`: why it does not run, or ''. `hopeless`: it will not,
    and neither will others with this image."""

    phase: str = "Pending"
    addresses: tuple[str, ...] = ()
    why: str = "it was deleted"
    hopeless: bool = False

    @property
    def runs(self) -> bool:
        return self.phase == "Running" and bool(self.addresses)

    @property
    def has_begun(self) -> bool:
        return self.phase not in ("", "Pending", "Unknown")

    @property
    def is_over(self) -> bool:
        return self.phase in ("Succeeded", "Failed")


def progress(pod: PodObject) -> Progress:
    status = pod.status
    reasons = list(_reasons(status))
    bad = [text for reason, text in reasons if reason in _BAD_IMAGE]
    told = bad or [text for reason, text in reasons if reason not in _USUAL] or [text for _, text in reasons]
    addresses = tuple(each.ip for each in status.podIPs or () if each.ip)
    why = told[0] if told else "its kubelet has not said why"
    return Progress(status.phase or "Pending", addresses, why, bool(bad))


def _reasons(status: _Status) -> Iterator[tuple[str, str]]:
    """The reasons that a pod's status holds, as (reason, text), the most exact first."""
    for container in status.containerStatuses or ():
        for state in (container.state.waiting, container.state.terminated):
            if state is not None and (state.reason or state.message):
                yield state.reason, _text(state.reason, state.message)
    if status.reason or status.message:
        yield status.reason, _text(status.reason, status.message)
    for condition in status.conditions or ():
        if condition.status == "False" and condition.message:
            yield condition.reason, _text(condition.reason, condition.message)


def _text(reason: str, message: str) -> str:
    return ": ".join(filter(None, (reason, message)))
