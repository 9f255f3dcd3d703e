"""The NATS server that we start ourselves: its files, the process that keeps it, and who starts that."""
