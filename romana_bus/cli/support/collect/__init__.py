"""Reads the parts of a bundle: `log.py` from the log, `node.py` from this machine. Nothing is changed."""
