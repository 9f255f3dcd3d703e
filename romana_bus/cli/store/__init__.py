"""`romana-bus store`: how large the store may be, what it holds, and its settings."""
