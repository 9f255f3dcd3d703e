"""The log and the table on NATS JetStream: requests, our own pull loop, leases, and where its servers stand.

Imports `bus.api` and `bus.streams`; only `bus.connect` imports it.
"""
