"""The log and the table: everything that knows NATS, and the in-memory twin that needs none.

Kept empty on purpose: `keeper.py` in here starts in 20 ms because nothing else is imported.
"""
