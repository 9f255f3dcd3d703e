"""A pod network control plane for Kubernetes whose only database is an event log."""

__version__ = "0.1.0"
