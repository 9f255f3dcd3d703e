"""Publishes facts of a Kubernetes API server on the log: lists, watches, and checks of their answers."""
