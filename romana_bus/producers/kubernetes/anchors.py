"""By which a server is known again: the newest of what it has told of a resource. Pure.

A store that was restored from a backup may have gone past the version that a watch was at before the watch is
back, so versions alone may say nothing. But of the objects that were changed last it has older ones, or none;
and those that were deleted last are there again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from romana_bus.producers.kubernetes.observe import Progress


class Anchor(NamedTuple):
    """`key`: namespace/name. `version`: the one in which it was changed last, or, where it is not `there` any
    more, deleted."""

    key: str
    version: int
    there: bool


def anchors(progress: Progress) -> list[Anchor]:
    """At most one that is there, and one that is gone."""
    held, gone = progress.held, progress.gone
    found = []
    if held:
        key = max(held, key=lambda one: held[one].version)
        found.append(Anchor(key, held[key].version, there=True))
    if gone:
        key = max(gone, key=lambda one: gone[one])
        found.append(Anchor(key, gone[key], there=False))
    return [one for one in found if one.version]


def other_story(progress: Progress, anchor: Anchor, version: int | None) -> str:
    """Why a server that has the object in `version`, or not at all, tells another story than it did, or ''.
    What has changed since the anchor was chosen is no news."""
    key, told = anchor.key, anchor.version
    if anchor.there and version is None:
        held = progress.held.get(key)
        doubted = progress.absences.doubts(key)
        if held is None or held.version != told or doubted:
            return ""
        return f"the API server does not show {key}, which it has told of last"
    if version is None or version >= told:
        return ""
    if anchor.there:
        return f"the API server has {key} in version {version}, and has told of {told}"
    return f"the API server has {key} in version {version}, and has told that it was deleted in {told}"
