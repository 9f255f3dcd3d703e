"""What can go wrong in a way that a person has to hear about: one line that says what to do."""

from __future__ import annotations


class RomanaError(Exception):
    """Shown to the user as one line, without a traceback."""

    exit_code = 1


class Failed(RomanaError):
    """Something outside did not do what was asked of it: exit code 1."""


class BadInput(RomanaError):
    """What the user gave cannot be used, and nothing was changed: exit code 2."""

    exit_code = 2

    def __init__(self, *reasons: str) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons
