"""The Kubernetes API server -> facts on the log: lists, watches, and what is doubted of them."""
