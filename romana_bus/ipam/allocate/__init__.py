"""Takes the decisions that are due: places nodes, opens blocks, assigns and releases addresses.

Imports `ipam.model` and `ipam.fold`.
"""
