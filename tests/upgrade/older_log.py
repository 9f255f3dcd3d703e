"""The log of an older version, stored again as that version had it: streams, subjects, headers, bodies.

`log_of_0dba5b1.jsonl` is what a lab of that commit stored, the last one before identities, settings on the
log, NodeNetwork and tables that leaders compact: two nodes, pods that came and went, one with a fixed
address, one with a sticky address, a denied and a static one, a reserved range. Left out are headers that
only the server needs. Times in bodies are moved, as if the last message were of now.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from romana_bus.bus.clock import wall as now
from romana_bus.events import ROLES
from tests.identities import administrator

if TYPE_CHECKING:
    from nats.aio.client import Client

MESSAGES = [
    json.loads(line) for line in Path(__file__).with_name("log_of_0dba5b1.jsonl").read_text().splitlines()
]
#: A time in a body, µs.
_TIMES = range(1 << 50, 1 << 53)


async def stored(url: str, cluster: str, *more: dict[str, Any]) -> None:
    """Store the log on a server. `more`: messages behind it."""
    last = max(datetime.fromisoformat(one["headers"]["Romana-Time"]) for one in MESSAGES)
    moved = now() - int(last.timestamp() * 1e6)
    client = await administrator(url)
    for role in ROLES:
        await _create(client, cluster, role)
    for one in (*MESSAGES, *more):
        answer = await client.request(
            f"romana.{cluster}.{one['subject']}",
            json.dumps(_moved(one["body"], moved), separators=(",", ":")).encode(),
            headers=one["headers"],
            timeout=20,
        )
        assert json.loads(answer.data)["seq"] == one["seq"], answer.data
    await client.close()


def newest(subject: str) -> dict[str, Any]:
    """The body of the newest message of a subject in the log."""
    body: dict[str, Any] = [one["body"] for one in MESSAGES if one["subject"] == subject][-1]
    return body


async def _create(client: Client, cluster: str, role: str) -> None:
    """A log and its table, as that version made them."""
    name, seconds = f"ROMANA_{cluster}_{role}", 1_000_000_000
    common = {"storage": "file", "allow_msg_ttl": True, "metadata": {"romana_epoch": cluster}}
    log = common | {
        "name": name, "subjects": [f"romana.{cluster}.{role.lower()}.>"], "max_age": 604_800 * seconds,
        "duplicate_window": 120 * seconds, "allow_atomic": True, "deny_delete": True, "deny_purge": True,
    }  # fmt: skip
    table = common | {"name": f"{name}_LATEST", "mirror": {"name": name}, "max_msgs_per_subject": 1}
    for config in (log, table):
        body = json.dumps(config | {"allow_direct": False}).encode()
        answer = await client.request(f"$JS.API.STREAM.CREATE.{config['name']}", body, timeout=20)
        assert "error" not in json.loads(answer.data), answer.data


def _moved(value: Any, by: int) -> Any:
    if isinstance(value, dict):
        return {key: _moved(each, by) for key, each in value.items()}
    if isinstance(value, list):
        return [_moved(each, by) for each in value]
    return value + by if isinstance(value, int) and value in _TIMES else value
