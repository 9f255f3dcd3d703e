"""Benchmarks of the processes as a whole: how fast they start, and what hostile input does to them."""
