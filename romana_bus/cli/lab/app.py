"""`romana-bus lab`: its commands, in the order in which a newcomer meets them."""

from __future__ import annotations

from romana_bus.cli.lab import demo, faults, ping, pods
from romana_bus.cli.lab.commands import app

app.command(demo.demo, sort_key=1)
app.command(pods.app)
app.command(ping.ping, sort_key=4)
app.command(ping.matrix, sort_key=5)
app.command(ping.exec_, name="exec", sort_key=6)
app.command(faults.start, sort_key=7)
for _app in (faults.node_app, faults.link_app, faults.agent_app, faults.nats_app):
    app.command(_app)
