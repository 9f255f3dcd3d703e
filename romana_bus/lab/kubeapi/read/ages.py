"""Ages as kubectl prints them (apimachinery, pkg/util/duration.HumanDuration). Pure."""

from __future__ import annotations

from datetime import UTC, datetime

#: (limit, seconds, unit): an age below the limit, in seconds, is printed in this unit.
_UNITS = ((120, 1, "s"), (3 * 3600, 60, "m"), (48 * 3600, 3600, "h"))


def read_time(text: str | None) -> datetime | None:
    """An RFC 3339 time; None if the text is not one."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def age(since: str | None, now: datetime) -> str:
    """The age of an RFC 3339 time, in one unit: `119s`, `2m`, `47h`, `2d`."""
    begun = read_time(since)
    if begun is None:
        return "<unknown>"
    seconds = max(0, int((now - begun).total_seconds()))
    for below, unit, letter in _UNITS:
        if seconds < below:
            return f"{seconds // unit}{letter}"
    return f"{seconds // 86_400}d"
