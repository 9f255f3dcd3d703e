"""Benchmarks of the pure core: no server, no process, no I/O."""
