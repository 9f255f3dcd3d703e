"""Errors that are shown to the user: one line that says what happened and what to do."""

from __future__ import annotations


class RomanaError(Exception):
    """Shown to the user as one line, without a traceback."""

    exit_code = 1


class Failed(RomanaError):
    """Something outside this process failed: exit code 1."""


class BadInput(RomanaError):
    """The user's input cannot be used; nothing was changed: exit code 2."""

    exit_code = 2

    def __init__(self, *reasons: str) -> None:
        super().__init__("\n".join(reasons))
        self.reasons = reasons
