"""Benchmarks of a node, with a kernel in network namespaces: routes, and CNI calls."""
