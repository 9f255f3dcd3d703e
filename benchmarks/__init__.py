"""Speed, each against a named peer, in one run, as a ratio. `python -m benchmarks` runs them all."""
