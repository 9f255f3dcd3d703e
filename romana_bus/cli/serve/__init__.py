"""Commands that keep running: `up`, `watch`, `run`, `agent`."""
