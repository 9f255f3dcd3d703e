"""A simulated cluster that runs Romana's operations (`romana-bus ipam simulate`)."""
