"""The embedded NATS server: its private files, its keeper process, and the client that starts the keeper."""
