"""What IPAM knows: nodes, pods, records, blocks, and the index by which free addresses are found.

Imports `ipam.topology` and `events`.
"""
