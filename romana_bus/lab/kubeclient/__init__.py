"""The lab's own client of an API server."""
