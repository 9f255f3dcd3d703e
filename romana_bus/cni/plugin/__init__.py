"""The executable that the container runtime starts, and its installer."""
