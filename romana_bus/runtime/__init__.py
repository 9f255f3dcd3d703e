"""The runtime of consumers: their kinds, feed, fold, election, loop, reports, health and logs.

Imports the log (`bus`) and `events`; nothing of any consumer.
"""
