"""The state of IPAM: nodes, pods, records, blocks, usage, and the index that finds free addresses.

Imports `ipam.topology` and `events`.
"""
