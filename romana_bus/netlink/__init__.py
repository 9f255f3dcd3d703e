"""Netlink: messages packed and parsed in bulk, sent in batches.

pyroute2 0.9.7 is too slow for this. Measured like for like, a decoded dump of routes takes it 16 to 27 times
as long, a veth pair 1.2 ms instead of 0.4, and its raw dump returned 55 of 10,000 routes. The agent would
need 9 MiB more.
"""
