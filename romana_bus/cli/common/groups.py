"""The groups into which `--help` sorts options."""

from __future__ import annotations

from cyclopts import Group

OPTIONS = Group("Options", sort_key=0)
KUBERNETES, ADDRESSES = Group("Kubernetes", sort_key=1), Group("Addresses", sort_key=2)
AUDIT = Group("Audit", sort_key=3)
STORE, NEW_LOG = Group("Store", sort_key=4), Group("New log", sort_key=5)
OUTPUT = Group("Output", sort_key=6)
