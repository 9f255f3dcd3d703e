"""Speed, each against a named peer, in one run, as a ratio. `python -m benchmarks` runs them all.

One package for each part that is measured. `sample` is what they measure with, `stage` what they run on, and
`report` what they say. They import the product and the tests; nothing imports them.
"""
