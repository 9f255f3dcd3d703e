"""Which routes a node should have, and the delta to what its kernel has. Pure."""
