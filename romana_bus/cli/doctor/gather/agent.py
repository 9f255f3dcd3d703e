"""Asks this node's agent whether it is ready, as a runtime does (STATUS)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from romana_bus.cli.doctor import facts
from romana_bus.cni import frame
from romana_bus.cni.spec import NEWEST

if TYPE_CHECKING:
    from pathlib import Path

    from romana_bus.cli.doctor.gather.context import Context

#: Seconds within which an agent answers.
WITHIN = 5.0
_STATUS = frame.packed(
    {"CNI_COMMAND": "STATUS"}, msgspec.json.encode({"cniVersion": NEWEST, "name": "romana-bus"})
)


async def agent(context: Context) -> facts.Agent:
    run_dir = context.wanted.run_dir
    socket = run_dir / "cni.sock"
    spooled = len([file for file in (run_dir / "spool").glob("*") if not file.name.startswith(".")])
    try:
        async with asyncio.timeout(WITHIN):
            code, text = await _ask(socket)
    except FileNotFoundError:
        return facts.Agent(str(socket), "there is no such socket", spooled=spooled)
    except TimeoutError:
        return facts.Agent(str(socket), f"no answer within {WITHIN:g} s", spooled=spooled)
    except (OSError, asyncio.IncompleteReadError) as error:
        why = getattr(error, "strerror", None) or str(error)
        return facts.Agent(str(socket), why, spooled=spooled)
    return facts.Agent(str(socket), code=code, text=text, spooled=spooled)


async def _ask(socket: Path) -> tuple[int, str]:
    """The exit code and the text of the answer. Raises OSError, IncompleteReadError, TimeoutError."""
    reader, writer = await asyncio.open_unix_connection(str(socket))
    try:
        writer.write(_STATUS)
        size = int.from_bytes(await reader.readexactly(frame.HEAD), "big")
        body = await reader.readexactly(min(size, frame.LARGEST_ANSWER))
    finally:
        writer.close()
    return body[0], _message(body[1:]) if body[0] else ""


def _message(text: bytes) -> str:
    try:
        error = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return text.decode(errors="replace")
    return ": ".join(str(error[key]) for key in ("msg", "details") if error.get(key))
