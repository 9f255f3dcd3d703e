"""Romana's own operations, played without a cluster (`romana-bus ipam simulate`)."""
