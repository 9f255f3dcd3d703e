"""nats-py without aiohttp, which it loads for WebSockets alone (`bus/connect.py` refuses them): a third of
the time that a command takes to start, and 15 MB of every process.
"""

from __future__ import annotations

import sys

_ABSENT = "aiohttp" not in sys.modules
if _ABSENT:
    sys.modules["aiohttp"] = None  # type: ignore[assignment]  # its import fails, which nats-py expects
try:
    from nats.aio.client import Client
    from nats.errors import Error as NatsError
    from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser
finally:
    if _ABSENT:
        del sys.modules["aiohttp"]

__all__ = ["AWAITING_CONTROL_LINE", "Client", "NatsError", "Parser"]
