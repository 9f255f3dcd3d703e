"""`romana-bus status`, and `resync`."""
