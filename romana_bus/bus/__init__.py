"""The log and the table: everything that knows NATS, and the in-memory twin, which needs no server.

Nothing is imported here on purpose: so `embedded/keeper.py` starts in 20 ms.
"""
