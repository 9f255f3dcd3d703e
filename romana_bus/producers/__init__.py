"""The outside world -> facts. Pure observation on top, an async shell below. Imports `runtime` and below;
only `cli` imports it.
"""
