"""`romana-bus ipam`: its commands."""

from __future__ import annotations

from cyclopts import App

from romana_bus.cli.common.groups import OPTIONS
from romana_bus.cli.ipam import check, release, reserve, settings, show, simulate

app = App(name="ipam", group_parameters=OPTIONS)
app.command(reserve.reserve)
app.command(reserve.unreserve)
app.command(show.show_, name="show")
app.command(simulate.simulate)
app.command(check.check)
app.command(release.release)
app.command(settings.app)
