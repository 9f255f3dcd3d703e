"""Gathers the facts of all wanted checks, and judges them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from romana_bus.bus.api import BusError
from romana_bus.cli.doctor.checks import CHECKS, GATHERERS
from romana_bus.cli.doctor.finding import NODE, Unseen, judged
from romana_bus.cli.doctor.gather.context import NotSeen
from romana_bus.cni.plugin.install import CONFLIST
from romana_bus.cni.plugin.runtimes import CONF_DIR
from romana_bus.errors import RomanaError
from romana_bus.netlink.socket import Interrupted

if TYPE_CHECKING:
    from romana_bus.cli.doctor.finding import Row
    from romana_bus.cli.doctor.gather.context import Context, Wanted

NO_NODE = "romana-bus has no agent and no plugin on this machine (--node looks in any case)"


async def examine(context: Context) -> list[Row]:
    """All checks of the wanted scopes. What cannot be gathered is in the rows, never an error."""
    wanted = context.wanted
    found: dict[type[Any], Any] = {}
    checks = [check for check in CHECKS if check.scope in wanted.scopes]
    other_machine = len(wanted.scopes) > 1 and not _is_node(wanted)
    for check in checks:
        if check.facts in found:
            continue
        if check.scope == NODE and other_machine:
            found[check.facts] = Unseen(NO_NODE)
            continue
        found[check.facts] = await _gathered(check.facts, context)
    return [judged(check, found) for check in checks]


async def _gathered(kind: type[Any], context: Context) -> Any:
    try:
        return await GATHERERS[kind](context)
    except (NotSeen, RomanaError, BusError, OSError, Interrupted) as error:
        return Unseen(" ".join(str(error).split()) or type(error).__name__)


def _is_node(wanted: Wanted) -> bool:
    """Whether an agent or the plugin has ever been here."""
    return wanted.run_dir.exists() or ((wanted.conf_dir or CONF_DIR) / CONFLIST).exists()
