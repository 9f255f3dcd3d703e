"""Anchors: the newest objects of a resource, by which a restored API server is recognized. Pure.

A store that was restored from a backup may already be past the version at which a watch stopped when the
watch reconnects, so versions alone prove nothing. But the objects that were changed last are older or missing
in it, and those that were deleted last exist again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from romana_bus.producers.kubernetes.progress import Progress


class Anchor(NamedTuple):
    """One object. `key`: namespace/name. `there`: whether it exists. `version`: of its last change, or of its
    deletion."""

    key: str
    version: int
    there: bool


def anchors(progress: Progress) -> list[Anchor]:
    """At most one object that exists, and one that was deleted."""
    held, gone = progress.held, progress.gone
    newest = []
    if held:
        key = max(held, key=lambda key: held[key].version)
        newest.append(Anchor(key, held[key].version, there=True))
    if gone:
        key = max(gone, key=lambda key: gone.get(key) or 0)
        newest.append(Anchor(key, gone.get(key) or 0, there=False))
    return [anchor for anchor in newest if anchor.version]


def contradiction(progress: Progress, anchor: Anchor, version: int | None) -> str:
    """How the server contradicts what it reported before, or ''. `version`: of the object on the server now;
    None: it does not exist. Changes since the anchor was chosen are no contradiction."""
    key, reported = anchor.key, anchor.version
    if anchor.there and version is None:
        held = progress.held.get(key)
        doubted = progress.absences.doubts(key)
        if held is None or held.version != reported or doubted:
            return ""
        return f"the API server does not show {key}, which it reported last"
    if version is None or version >= reported:
        return ""
    if anchor.there:
        return f"the API server has {key} in version {version}, but it reported version {reported} before"
    return f"the API server has {key} in version {version}, but it reported its deletion in {reported} before"
