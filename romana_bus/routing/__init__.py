"""Which routes a node should have, and what is to be changed for it. Pure."""
