"""`romana-bus support-bundle`: everything that helps to find a fault, in one archive, without names and
secrets.

`collect/` reads the parts; `names.py`, `known.py` and `redact.py` are pure; `archive.py` writes."""
