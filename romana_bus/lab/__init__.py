"""A cluster on one machine: the small Kubernetes API server, and recordings played through it."""
