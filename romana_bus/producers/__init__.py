"""Publish facts about the outside world: pure decisions, and an async shell that applies them. Imports
`runtime` and the packages below it; only `cli` imports it.
"""
