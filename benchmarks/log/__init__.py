"""Benchmarks of deciding on the log: writing it, reading it, and a server that fails."""
