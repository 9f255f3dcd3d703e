"""How long ago, as kubectl prints it (apimachinery, pkg/util/duration.HumanDuration). Pure."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86_400, 365 * 86_400


def read_time(text: str | None) -> datetime | None:
    """RFC 3339. None where it is no time."""
    try:
        found = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def age(since: str | None, now: datetime) -> str:
    begun = read_time(since)
    return "<unknown>" if begun is None else duration(int((now - begun).total_seconds()))


def duration(seconds: int) -> str:
    """Two units while the larger one alone would say too little."""
    if seconds < 0:
        return "<invalid>" if seconds < -1 else "0s"
    for below, unit, letter, part, lesser in (
        (2 * _MINUTE, 1, "s", 0, ""),
        (10 * _MINUTE, _MINUTE, "m", 1, "s"),
        (3 * _HOUR, _MINUTE, "m", 0, ""),
        (8 * _HOUR, _HOUR, "h", _MINUTE, "m"),
        (2 * _DAY, _HOUR, "h", 0, ""),
        (8 * _DAY, _DAY, "d", _HOUR, "h"),
        (2 * _YEAR, _DAY, "d", 0, ""),
        (8 * _YEAR, _YEAR, "y", _DAY, "d"),
    ):
        if seconds < below:
            rest = seconds % unit // part if part else 0
            return f"{seconds // unit}{letter}" + (f"{rest}{lesser}" if rest else "")
    return f"{seconds // _YEAR}y"
