"""The outside world -> facts. Pure observation on top, an async shell below."""
