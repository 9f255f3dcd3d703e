"""`romana-bus status` and `romana-bus resync`."""
