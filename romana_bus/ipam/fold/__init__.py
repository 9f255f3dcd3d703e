"""One event into the state, or why it does not count.

Imports `ipam.model`.
"""
