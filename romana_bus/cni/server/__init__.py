"""The agent's side of CNI: calls, attachments, and what the log is told of them."""
