"""The agent's last answer to STATUS, for the time after its end.

A runtime that asks while an agent is restarted would report the node as not ready, and its pods would be
evicted. So `romana-cni` gives the agent's last answer when it cannot reach the agent, and a new agent gives
that of the one before it until it is ready itself: in both cases for `grace` seconds at most.

Writes RUN_DIR/last-status when the answer changes, and regularly: exit code, time by the boot clock and grace
(both ms), a line end, and the answer. That clock starts with the machine, so no wall clock matters.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING, NamedTuple

import structlog

from romana_bus import files
from romana_bus.cni import spec
from romana_bus.cni.spec import CniError

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.cni.server.server import Execute
    from romana_bus.cni.spec import Call

log = structlog.get_logger(__name__)

#: Seconds, at most: between two looks at the answer; between two writes of the same one.
EVERY, REFRESH = 1.0, 5.0
_STATUS = spec.parse({"CNI_COMMAND": "STATUS"}, b'{"cniVersion": "1.1.0", "name": "romana-bus"}')


class Answer(NamedTuple):
    """What a runtime gets: exit code and text."""

    code: int
    text: bytes


class LastStatus:
    """`file`: where the answer is kept. `grace`: seconds for which it counts; 0: not at all. `do`: runs a
    call."""

    def __init__(self, file: Path, grace: float, do: Execute) -> None:
        self._file, self._grace, self._do = file, grace, do
        self._refresh = min(REFRESH, grace / 4) or math.inf
        # Until when the answer of the agent before this one counts, if that was ready (ms, boot clock).
        self._inherited_until = _ready_until(file) if grace else 0
        self._kept, self._kept_at = Answer(-1, b""), 0
        self._failure = ""

    async def do(self, call: Call) -> bytes:
        """Run a call, and keep the answer of STATUS. While the answer of the agent before this one counts,
        STATUS does not fail. Raises CniError."""
        if call.command != "STATUS":
            return await self._do(call)
        try:
            text = await self._do(call)
        except CniError as error:
            if _now() < self._inherited_until:
                return b""
            self._note(Answer(1, spec.failure(spec.NEWEST, error)))
            raise
        self._note(Answer(0, text))
        return text

    async def run(self) -> None:
        """Keep the file up to date, until cancelled."""
        while True:
            with contextlib.suppress(CniError):
                await self.do(_STATUS)
            await asyncio.sleep(min(EVERY, self._refresh))

    def _note(self, answer: Answer) -> None:
        """Keep this agent's own answer, if it is another one or was kept some time ago."""
        self._inherited_until, now = 0, _now()
        if answer != self._kept or now - self._kept_at >= 1000 * self._refresh:
            self._keep(answer, now)

    def _keep(self, answer: Answer, now: int) -> None:
        head = f"{answer.code} {now} {self._grace * 1000:.0f}\n".encode()
        try:
            files.write(self._file, head + answer.text, mode=0o600)
        except OSError as error:
            if self._failure != str(error):
                log.error("the last answer to STATUS cannot be written", why=str(error))
            self._failure = str(error)
        else:
            self._kept, self._kept_at, self._failure = answer, now, ""


def _now() -> int:
    """Milliseconds since the machine started, also while it was suspended."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def _ready_until(file: Path) -> int:
    """Until when a kept answer counts (ms, boot clock); 0 if there is none, or another one than that the node
    is ready. A time in the future is from before a reboot."""
    try:
        code, said, counts = map(int, file.read_bytes().partition(b"\n")[0].split())
    except (OSError, ValueError):
        return 0
    return said + counts if code == 0 and said <= _now() else 0
