"""The lab: a cluster of network namespaces on one Linux machine.

up, down, power   start and stop the whole lab, or one node
fabric            the network: the router, the bridges of the zones, the links of the nodes
services          the lab's processes, and how each is started
serve, nats       two of these processes; relay: forwards NATS connections of the nodes
router, block_log keep the router's routes in line with the log; node_lifecycle: marks silent nodes not ready
waiting           waits for a condition, and fails if a process that it needs has ended
"""
