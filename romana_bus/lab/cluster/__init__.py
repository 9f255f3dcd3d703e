"""The lab: a cluster of network namespaces on one Linux machine.

up, down, power   the whole lab, or one node, comes up and goes down
fabric            the network: the router, the bridges of the zones, the links of the nodes
services          the lab's processes, and how each is started
serve, nats       two of these processes; relay: NATS, offered to the nodes
router, block_log the router's routes follow the log; node_lifecycle: silent nodes are not ready
waiting           until a condition holds, or a process that it needs has ended
"""
