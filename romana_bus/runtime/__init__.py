"""What runs a consumer: what it is, its feed, its state, the election, the loop, and what it reports.

Imports the log (`bus`) and `events`; nothing of any consumer.
"""
