"""The space of the store: its alarms, and the settings of a server."""
