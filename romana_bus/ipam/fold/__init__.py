"""Folds one event into the state, or records why it is ignored.

Imports `ipam.model`.
"""
