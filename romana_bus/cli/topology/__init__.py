"""The commands `romana-bus topology ...`."""
