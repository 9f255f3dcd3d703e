"""What the container runtime starts, and how it is installed."""
