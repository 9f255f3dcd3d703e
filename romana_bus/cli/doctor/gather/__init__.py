"""Reads the facts that `judge/` judges: the kernel, files, the agent's socket, the log, the API server.
Nothing is changed."""
