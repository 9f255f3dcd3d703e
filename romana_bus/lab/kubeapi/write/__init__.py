"""Creations, updates, patches and deletions."""
