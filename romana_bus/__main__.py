"""`python -m romana_bus`: the same as `romana-bus`."""

from romana_bus.cli.main import main

main()
