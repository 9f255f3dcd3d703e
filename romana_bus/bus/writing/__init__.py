"""Writing: the fenced writer of a leader, the publisher of reports, and the chain that readers check."""
