"""Topologies: reads and checks a document, and splits its networks into a tree of groups."""
