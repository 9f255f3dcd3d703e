"""Deciders, reconcilers and projections: each names its pure functions and the subjects that it reads, and
the loop of `runtime` runs them. Consumers do not import each other."""
