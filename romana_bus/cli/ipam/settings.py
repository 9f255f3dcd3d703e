"""`romana-bus ipam settings`: shows and sets how addresses are assigned. The settings are on the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from cyclopts import App

from romana_bus.bus.api import WrongSequence
from romana_bus.bus.auth.permissions import OPERATE, READ
from romana_bus.bus.connect import open_store
from romana_bus.cli.common import console
from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.common.ipam_state import ipam_state
from romana_bus.cli.common.options import Addresses, Output, Store
from romana_bus.cli.common.session import run
from romana_bus.consumers.ipam import differing, put
from romana_bus.errors import BadInput, Failed
from romana_bus.events import ROLES, SETTINGS, SPEC, Settings, SettingsChanged
from romana_bus.inet import parse_prefix
from romana_bus.ipam.change.overlaps import overlaps

if TYPE_CHECKING:
    from romana_bus.ipam import State

app = App(name="settings", group_parameters=OPTIONS, help="How addresses are assigned.")

#: Setting -> the option that sets it.
OPTION = {
    "block_owner": "block-owner",
    "cooldown": "cooldown",
    "warm_blocks": "warm-blocks",
    "default_network": "network",
}


@app.command(name="show")
def show_(*, store: Store = Store(), output: Output = Output()) -> None:
    """Show the settings by which all replicas assign addresses."""
    run(_show(store, output), output)


async def _show(store: Store, output: Output) -> None:
    async with await open_store(
        store.access, store.layout, "ipam settings", ROLES, who=READ, looking=True
    ) as opened:
        state = await ipam_state(opened)
    if output.json:
        console.as_json({"seq": state.settings_seq, "settings": state.settings})
        return
    values = msgspec.structs.asdict(state.settings)
    rows = {option: _text(name, values[name]) for name, option in OPTION.items()}
    console.console.print(console.pairs(rows))
    if not state.settings_seq:
        console.hint("No settings are on the log: these are the defaults. The first leader writes its own.")


@app.command(name="set")
def set_(*, addresses: Addresses = Addresses(), store: Store = Store(), output: Output = Output()) -> None:
    """Change settings, for all replicas at once. Settings that are not named stay.

    Addresses that cool down already are free when their release said. A node gets
    or returns spare blocks at once. A new --network is refused while pods have
    addresses of the old one and no topology is set.
    """
    given = addresses.given
    if not given:
        raise BadInput("no setting is named: write, for example, romana-bus ipam settings set --cooldown 60")
    run(_set(given, store, output), output)


async def _set(given: dict[str, Any], store: Store, output: Output) -> None:
    async with await open_store(store.access, store.layout, "ipam settings", ROLES, who=OPERATE) as opened:
        # The message first: if other settings are written after it, its sequence no longer fits.
        newest = await opened.newest(SPEC, SETTINGS)
        state = await ipam_state(opened)
        new = msgspec.structs.replace(state.settings, **given)
        changed = differing(state.settings, new)
        _refuse_homeless(state, new)
        if "default_network" in changed:
            _refuse_overlaps(state, new.default_network)
        if changed or not state.settings_seq:
            try:
                await put(opened, SettingsChanged(settings=new), newest.seq if newest else 0)
            except WrongSequence:
                raise Failed(
                    "another command changed the settings at the same time: check them and try again"
                ) from None
    if output.json:
        console.as_json({"changed": sorted(changed), "settings": new})
        return
    for name, (old, value) in changed.items():
        console.console.print(f"{OPTION[name]}: {_text(name, old)} -> {_text(name, value)}")
    if not changed:
        console.console.print("unchanged")


def _refuse_homeless(state: State, new: Settings) -> None:
    """Raises BadInput if the default network changes while it is in force and pods have addresses: no group
    of the new network would have them."""
    old, network = state.settings.default_network, new.default_network
    count = sum(block.used.bit_count() for block in state.blocks.values())
    if count and old != network and not state.documented:
        raise BadInput(
            f"--network {network}: pods have {console.many(count, 'address', 'addresses')} of {old}: set a "
            "topology with both networks instead (romana-bus topology apply)"
        )


def _refuse_overlaps(state: State, network: str) -> None:
    """Raises BadInput if the network overlaps what nodes live on: no node could be placed in it."""
    if found := next(overlaps(state, [parse_prefix(network)]), None):
        raise BadInput(f"--network {found.text}: choose another prefix")


def _text(name: str, value: Any) -> str:
    return f"{value / 1e6:g} s" if name == "cooldown" else str(value)
