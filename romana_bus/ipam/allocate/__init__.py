"""What is due now, as events: nodes placed, blocks opened, addresses assigned and released.

Imports `ipam.model` and `ipam.fold`.
"""
