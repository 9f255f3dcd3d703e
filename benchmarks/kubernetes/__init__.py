"""Benchmark of watching an API server."""
