"""What /healthz and /readyz say: as a terminal may show it, since people read it with curl."""

from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from http.client import HTTPResponse

from romana_bus.runtime.health import STANDBY, Health, served

NASTY = "denied \x1b[2J\x07\u202e\nok\r"
SHOWN = r"denied \x1b[2J\x07\u202e\nok\r"


def fetched(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert isinstance(answer, HTTPResponse)
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_hostile_problem_text_is_escaped_on_one_line() -> None:
    health = Health()
    async with served("127.0.0.1:0", health) as url:
        assert await asyncio.to_thread(fetched, f"{url}/readyz") == (200, "ok\n")
        health.say("ipam", NASTY)
        health.check("log", lambda: NASTY)
        health.stand(NASTY, STANDBY)
        assert await asyncio.to_thread(fetched, f"{url}/readyz") == (
            503,
            f"ipam, log: {SHOWN}\n{SHOWN}: standby\n",
        )
        assert await asyncio.to_thread(fetched, f"{url}/healthz") == (200, "ok\n")
