"""The commands `romana-bus ipam ...`."""
