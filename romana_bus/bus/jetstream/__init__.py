"""The log and the table on NATS JetStream: requests, the pull loop, leases, and the probe of its servers.

Imports `bus.api` and `bus.stream_config`; only `bus.connect` imports it.
"""
